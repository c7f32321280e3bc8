//! `rollcall demo`, as someone sees it who tries it first.

use std::path::Path;
use std::process::Command;

use crate::house::until;
use crate::program::{Program, rollcall, run, text};

/// The demo, with a folder of its own for what is temporary.
fn demo(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = rollcall(&["demo"]);
    command.args(arguments).env("TMPDIR", folder);
    command
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn the_directory_becomes_identical_and_nothing_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let played = run(&mut demo(folder.path(), &["--once", "--users", "60"]), b"");
    let shown = text(&played.stdout);
    assert!(played.status.success(), "{shown}{}", text(&played.stderr));
    assert!(shown.contains("identical"), "{shown}");
    assert!(is_empty(folder.path()));
}

#[test]
fn a_signal_ends_it_and_its_folder_is_removed() {
    for signal in ["INT", "TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let program = Program::start(&mut demo(folder.path(), &["--users", "20"]));
        until("the demo to begin", || (!is_empty(folder.path())).then_some(()));
        program.signal(signal);
        let (status, _) = program.end();
        assert!(is_empty(folder.path()), "{signal}: {status}");
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

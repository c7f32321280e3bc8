//! The house law: titles, sizes, doors between rooms, and that nothing lies about unreached.
//!
//! What a lint can see is clippy's and stands in `Cargo.toml` and `clippy.toml`; here is what no lint sees.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 400;

/// Who may know whom. A room that is not listed has no door at all; the composition roots are free.
const DOORS: &[(&str, &[&str])] = &[
    ("directory", &[]),
    ("config", &[]),
    ("clock", &["directory"]),
    ("storage", &["directory", "clock", "config", "telemetry"]),
    ("upstream", &["directory", "clock", "config", "telemetry"]),
    ("telemetry", &["directory", "clock", "config", "storage"]),
    ("service", &["directory", "clock", "config", "telemetry", "storage", "upstream"]),
    ("http", &["directory", "clock", "config", "telemetry", "storage", "upstream", "service"]),
    ("simulator", &["directory", "clock", "config", "telemetry", "upstream"]),
];
const FREE: &[&str] = &["lib", "main", "cli"];

/// What the pure core must not touch.
const IMPURE: &[&str] =
    &["async ", "SystemTime", "Instant", "tracing", "tokio", "std::fs", "std::net", "std::env", "std::thread", "println!"];

struct Source {
    /// From the root of the repository, with `/`.
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file below a folder of the repository.
fn texts(below: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut open = vec![root().join(below)];
    while let Some(at) = open.pop() {
        if at.is_dir() {
            open.extend(fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()));
        } else if let Ok(text) = fs::read_to_string(&at) {
            let path = at.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
            found.push(Source { path, text });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn rust(below: &str) -> Vec<Source> {
    texts(below).into_iter().filter(|source| source.path.ends_with(".rs")).collect()
}

impl Source {
    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// `storage` for `src/storage.rs` and everything in `src/storage/`.
    fn room(&self) -> &str {
        self.path.trim_start_matches("src/").split(['/', '.']).next().unwrap()
    }

    /// The lines that run in the service, with their numbers: no comments, nothing after the first `#[cfg(test)]` of a `mod … {`.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        let lines = self.text[..tests].lines().enumerate().map(|(n, line)| (n + 1, line.trim()));
        lines.filter(|(_, line)| !line.starts_with("//"))
    }
}

/// The rooms that a line of code names: `crate::storage::Store` names `storage`.
fn rooms_named(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("crate::").map(|(at, crate_)| {
        let rest = &line[at + crate_.len()..];
        &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
    })
}

#[track_caller]
fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_file_opens_with_its_title() {
    let sources = ["src", "tests", "benches"].into_iter().flat_map(rust);
    let untitled = sources.filter(|source| !source.text.starts_with("//! ") && !source.text.starts_with("#!["));
    none(&untitled.map(|source| format!("{}:1: say in one `//!` sentence what lives here", source.path)).collect::<Vec<_>>());
}

#[test]
fn no_file_outgrows_its_reader() {
    let long = rust("src").into_iter().filter(|source| !source.is_test() && source.text.lines().count() > LINES_MAX);
    none(
        &long
            .map(|source| format!("{}:{LINES_MAX}: is longer than {LINES_MAX} lines: give a part of it a file of its own", source.path))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn rooms_know_only_the_rooms_below_them() {
    let mut faults = Vec::new();
    for source in rust("src").iter().filter(|source| !source.is_test() && !FREE.contains(&source.room())) {
        let room = source.room();
        let Some((_, doors)) = DOORS.iter().find(|(name, _)| *name == room) else {
            faults.push(format!("{}:1: the room {room} has no row in DOORS (tests/it/tidy.rs): say whom it may know", source.path));
            continue;
        };
        for (n, line) in source.code() {
            for named in rooms_named(line).filter(|named| *named != room && !doors.contains(named)) {
                let named = if named.is_empty() { "several rooms at once (write one `use` a room)" } else { named };
                faults.push(format!("{}:{n}: {room} must not know {named}: move the code, or pass what it needs", source.path));
            }
        }
    }
    none(&faults);
}

#[test]
fn the_directory_is_pure() {
    let mut faults = Vec::new();
    for source in rust("src").iter().filter(|source| source.room() == "directory" && !source.is_test()) {
        for (n, line) in source.code() {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                faults.push(format!("{}:{n}: {word} has no place in the pure core: let the caller do it and pass the result", source.path));
            }
        }
    }
    none(&faults);
}

#[test]
fn every_file_is_reached_by_a_mod() {
    let sources = rust("src");
    let mut reached: BTreeSet<String> = ["src/lib.rs".to_owned(), "src/main.rs".to_owned()].into();
    for source in &sources {
        let folder = match source.path.as_str() {
            "src/lib.rs" | "src/main.rs" => "src",
            path => path.trim_end_matches(".rs"),
        };
        for line in source.text.lines().map(str::trim) {
            let declared = line.split_once("mod ").filter(|(before, _)| before.is_empty() || before.starts_with("pub"));
            if let Some(name) = declared.and_then(|(_, name)| name.strip_suffix(';')) {
                reached.insert(format!("{folder}/{name}.rs"));
            }
        }
    }
    let lost = sources.iter().filter(|source| !reached.contains(&source.path));
    none(&lost.map(|source| format!("{}:1: no `mod` leads here: declare it or take it out", source.path)).collect::<Vec<_>>());
}

#[test]
fn every_path_in_the_readme_exists() {
    const FOLDERS: [&str; 9] = ["src/", "config/", "tests/", "deploy/", "scripts/", "benches/", "docs/", "examples/", ".ci/"];
    let readme = fs::read_to_string(root().join("README.md")).unwrap_or_default();
    let mut faults = Vec::new();
    for (n, line) in readme.lines().enumerate() {
        for word in line.split(|c: char| !c.is_ascii_alphanumeric() && !"/._-*{}…<>$:".contains(c)) {
            let path = word.trim_start_matches("./").trim_end_matches(['.', ':']);
            let is_pattern = path.contains(['*', '{', '…', '<', '$', ':']);
            if FOLDERS.iter().any(|folder| path.starts_with(folder)) && !is_pattern && !root().join(path).exists() {
                faults.push(format!("README.md:{}: {path} does not exist: name what does", n + 1));
            }
        }
    }
    none(&faults);
}

#[test]
fn nothing_is_left_for_later_or_tied_to_a_machine() {
    // Written apart, so that this file does not accuse itself.
    let words = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("/wo", "rk/"),
        concat!("/tmp/", "wt"),
        concat!("/ro", "ot/"),
    ];
    let alone = ["README.md", "Cargo.toml", "Dockerfile", "clippy.toml"].map(PathBuf::from);
    let folders = ["src", "tests", "benches", "config", "scripts", "deploy", ".ci", "examples", "docs"];
    let mut sources: Vec<Source> = folders.into_iter().filter(|folder| root().join(folder).exists()).flat_map(texts).collect();
    sources.extend(
        alone
            .iter()
            .filter_map(|path| Some(Source { path: path.display().to_string(), text: fs::read_to_string(root().join(path)).ok()? })),
    );
    let mut faults = Vec::new();
    for source in &sources {
        for (n, line) in source.text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                faults.push(format!("{}:{}: {word} must not stay: finish it, or make the path relative", source.path, n + 1));
            }
        }
    }
    none(&faults);
}

//! The real binary: started, talked to, ended by signals.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::house::{PATIENCE, SECRET, until};

/// A command line of the binary, with nothing of this process's settings.
pub(crate) fn rollcall(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
    command.args(arguments).stdin(Stdio::null()).env_clear();
    command
}

/// Runs a command to its end.
#[track_caller]
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Whoever does not read its input has closed it.
    drop(child.stdin.take().unwrap().write_all(input));
    child.wait_with_output().unwrap()
}

/// What a command wrote.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Writes the settings of a service without an upstream, whose store is in the same folder; returns the file.
pub(crate) fn settings(folder: &Path, more: &str) -> String {
    let file = folder.join("rollcall.toml");
    let store = folder.join("data");
    let text = format!(
        "webhooks.listen = \"127.0.0.1:0\"\nwebhooks.drain_delay = \"0s\"\nops.listen = \"127.0.0.1:0\"\nstore.path = {store:?}\n{more}\n\
         [sources.main]\nkind = \"mangoapps\"\nwebhook_secrets = [{SECRET:?}]\n"
    );
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

/// A service for whom a write beyond the limit of its files fails, as on a full disk: without the trap it would end the process.
pub(crate) fn serving_beyond_limits(file: &str) -> Command {
    let mut command = Command::new("sh");
    let program = rollcall(&[]).get_program().to_owned();
    command.env_clear().args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(program).args(["serve", "--config", file]);
    command
}

/// What a test is told from outside.
#[expect(clippy::disallowed_methods, reason = "this is asked of the test, not of the service")]
pub(crate) fn told(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Lets a program run for so long, whatever it does: to aim at a moment, never to wait for something.
pub(crate) fn pause(span: Duration) {
    let began = Instant::now();
    while let Some(left) = span.checked_sub(began.elapsed()) {
        std::thread::park_timeout(left);
    }
}

/// A process that runs; killed when it is dropped.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    /// Starts a command and listens to what it says on standard error.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let errors = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || errors.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        Self { child, lines }
    }

    /// Starts a service and waits until it says where it listens: webhooks, operations.
    #[track_caller]
    pub(crate) fn serve(command: &mut Command) -> (Self, [String; 2]) {
        let program = Self::start(command);
        let line = program.line_with(" ready ");
        let named = |name: &str| {
            let rest = line.split_once(&format!("{name}=")).expect("an address").1;
            format!("http://{}", rest.split_whitespace().next().unwrap())
        };
        let at = [named("webhooks"), named("ops")];
        (program, at)
    }

    /// The next line that holds this text.
    #[track_caller]
    pub(crate) fn line_with(&self, text: &str) -> String {
        let mut heard = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            if line.contains(text) {
                return line;
            }
            heard.push(line);
        }
        panic!("never said {text:?}, but: {heard:#?}");
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        // The shell's own kill: not every machine has one as a program.
        let sent = Command::new("sh").args(["-c", &format!("kill -s {name} {}", self.child.id())]).status().unwrap();
        assert!(sent.success(), "kill -s {name}");
    }

    /// Waits for its end; how it ended, and how long that took.
    #[track_caller]
    pub(crate) fn end(mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let child = std::cell::RefCell::new(&mut self.child);
        let status = until("the program to end", || child.borrow_mut().try_wait().unwrap());
        (status, began.elapsed())
    }

    /// Kills it at once: it can do nothing about that.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

//! What a program asked of the system, in order, as strace saw it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::house::until;

/// Every call that changes or syncs a file, and those that speak to sockets.
const CALLS: &str = "openat,creat,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,sync_file_range,ftruncate,truncate,rename,renameat,\
                     renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,fallocate,copy_file_range,link,linkat,symlink,symlinkat,sendto,sendmsg";

/// One call. Lines count from 0; a call's effect lies between its two.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The line where it began.
    pub(crate) began: usize,
    /// The line where it returned; `None` when the process ended first.
    pub(crate) ended: Option<usize>,
    pub(crate) name: String,
    pub(crate) arguments: Vec<String>,
    /// What it returned: negative for a failure, and when it never did.
    pub(crate) result: i64,
}

impl Call {
    /// The path behind a file descriptor's argument, or a path itself.
    pub(crate) fn path(&self, place: usize) -> PathBuf {
        let argument = &self.arguments[place];
        if argument.starts_with('"') {
            return PathBuf::from(String::from_utf8(decode(argument)).unwrap());
        }
        let (_, path) = argument.split_once('<').unwrap_or_default();
        PathBuf::from(path.rsplit_once('>').unwrap_or_default().0)
    }

    /// The bytes of all strings in an argument.
    pub(crate) fn bytes(&self, place: usize) -> Vec<u8> {
        decode(&self.arguments[place])
    }

    /// A number among the arguments.
    pub(crate) fn number(&self, place: usize) -> usize {
        self.arguments[place].parse().unwrap_or_else(|_| {
            let told: Vec<&str> = self.arguments.iter().map(|argument| argument.get(..80).unwrap_or(argument)).collect();
            panic!("no number at {place} of {} in line {}: {told:?}", self.name, self.began)
        })
    }

    /// Whether it returned, and well.
    pub(crate) fn succeeded(&self) -> bool {
        self.ended.is_some() && self.result >= 0
    }
}

/// A command line like `command`, under strace, which writes into `file`. Tests that need it fail where it is not to be had.
pub(crate) fn traced(command: &Command, file: &Path) -> Command {
    let version = Command::new("strace").arg("--version").output();
    assert!(version.is_ok_and(|output| output.status.success()), "strace is missing: apt-get install strace");
    let mut traced = Command::new("strace");
    traced.args(["-f", "-yy", "-x", "-s", "20000000", "--seccomp-bpf", "-e", "signal=none", "-e", &format!("trace={CALLS}"), "-o"]);
    traced.arg(file).arg(command.get_program()).args(command.get_args());
    traced
}

/// What runs under strace; killed when it is dropped, because it would outlive strace.
pub(crate) struct Tracee {
    /// Where strace writes.
    pub(crate) file: PathBuf,
}

impl Tracee {
    /// Sends the traced program itself a signal.
    pub(crate) fn signal(&self, name: &str) {
        let process = until("the first traced call", || self.process());
        let sent = Command::new("sh").args(["-c", &format!("kill -s {name} {process}")]).status().unwrap();
        assert!(sent.success(), "kill -s {name} {process}");
    }

    /// Its first thread is the first to call anything.
    fn process(&self) -> Option<String> {
        let text = std::fs::read_to_string(&self.file).ok()?;
        Some(text.split_once(' ')?.0.to_owned())
    }

    fn has_ended(&self, process: &str) -> bool {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().rev().take(100).any(|line| line.starts_with(process) && line.contains(" +++ "))
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        if let Some(process) = self.process().filter(|process| !self.has_ended(process)) {
            drop(Command::new("sh").args(["-c", &format!("kill -s KILL {process}")]).status());
        }
    }
}

/// What strace writes behind a call that has not returned, or never will.
const UNFINISHED: &str = "<unfinished ...>";
/// The same, where the process had been killed before strace looked.
const DETACHED: &str = "<detached ...>";

/// Reads what strace wrote; lines are counted from `first`. Returns the calls in the order in which they began, and the next line.
pub(crate) fn read(file: &Path, first: usize) -> (Vec<Call>, usize) {
    let text = std::fs::read_to_string(file).unwrap();
    let mut calls: Vec<Call> = Vec::new();
    let mut open: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut next = first;
    for (line, text) in (first..).zip(text.lines()) {
        next = line + 1;
        let (thread, rest) = text.split_once(' ').unwrap();
        let rest = rest.trim_start();
        if let Some(begun) = rest.strip_suffix(UNFINISHED).or_else(|| rest.strip_suffix(DETACHED)).map(str::trim_end) {
            open.insert(thread, (line, begun));
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((began, begun)) = open.remove(thread) else { continue };
            let (_, end) = resumed.split_once("resumed>").unwrap();
            calls.extend(call(began, Some(line), &format!("{begun}{end}")));
        } else {
            calls.extend(call(line, Some(line), rest));
        }
    }
    calls.extend(open.into_values().filter(|(_, begun)| !begun.ends_with(',')).filter_map(|(began, begun)| call(began, None, begun)));
    calls.sort_by_key(|call| call.began);
    (calls, next)
}

/// `None` for what is no call: a signal, an end.
fn call(began: usize, ended: Option<usize>, text: &str) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    if name.contains(' ') {
        return None;
    }
    let (mut arguments, rest) = arguments(rest);
    if let Some(last) = arguments.last_mut().filter(|last| last.ends_with(UNFINISHED)) {
        // Killed in the call. Where not even its arguments could be read, it was killed on its way in and did nothing.
        *last = last.strip_suffix(UNFINISHED).unwrap().trim_end().to_owned();
        if last.is_empty() {
            return None;
        }
    }
    let result = rest.trim_start_matches(')').trim_start().strip_prefix("= ").map(|result| {
        let end = result.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(result.len());
        result[..end].parse().unwrap_or(-1)
    });
    // A thread that was killed in a call shows `?`.
    let ended = ended.filter(|_| result.is_some() && !rest.contains("= ?"));
    Some(Call { began, ended, name: name.to_owned(), arguments, result: result.unwrap_or(-1) })
}

/// The arguments up to the closing parenthesis, and what follows.
fn arguments(text: &str) -> (Vec<String>, &str) {
    let (mut found, mut start, mut depth, mut quoted) = (Vec::new(), 0, 0, false);
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b',' | b')' if depth == 0 => {
                found.push(text[start..at].trim().to_owned());
                start = at + 1;
                if bytes[at] == b')' {
                    return (found, &text[start..]);
                }
            }
            _ => {}
        }
        at += 1;
    }
    found.push(text[start..].trim().to_owned());
    (found, "")
}

/// The bytes of all quoted strings in `text`, one after the other.
fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let (mut quoted, mut rest) = (false, text.as_bytes());
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => {
                let used = escape(rest, &mut bytes);
                rest = &rest[used..];
            }
            byte if quoted => bytes.push(byte),
            _ => {}
        }
    }
    assert!(!text.contains("\"..."), "strace cut a string short");
    bytes
}

/// Decodes what follows a backslash; returns how many bytes that took.
fn escape(rest: &[u8], bytes: &mut Vec<u8>) -> usize {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    match rest[0] {
        b'x' => {
            bytes.push(digit(rest[1]) * 16 + digit(rest[2]));
            return 3;
        }
        b'0'..=b'7' => {
            let length = rest.iter().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
            bytes.push(rest[..length].iter().fold(0, |number: u8, byte| number.wrapping_mul(8).wrapping_add(byte - b'0')));
            return length;
        }
        b'n' => bytes.push(b'\n'),
        b't' => bytes.push(b'\t'),
        b'r' => bytes.push(b'\r'),
        b'v' => bytes.push(11),
        b'f' => bytes.push(12),
        other => bytes.push(other),
    }
    1
}

#[test]
fn a_trace_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let text = concat!(
        "7 openat(AT_FDCWD</a>, \"/a/db\", O_RDWR|O_CREAT, 0666) = 5</a/db>\n",
        "7 pwrite64(5</a/db>, \"a, \\\"b)\\n\\0012\", 7, 4096 <unfinished ...>\n",
        "8 fdatasync(5</a/db>)  = -1 EIO (Input/output error)\n",
        "7 <... pwrite64 resumed>) = 7\n",
        "8 sendmsg(9<TCP:[127.0.0.1:1->127.0.0.1:2]>, {msg_iov=[{iov_base=\"\\x00\\xff\", iov_len=2}]}, 0) = 2\n",
        "8 fsync(5</a/db> <unfinished ...>\n",
        "9 pwrite64(5</a/db>, \"x\", 1, 8192 <unfinished ...>) = ?\n",
        "7 pwrite64(5</a/db>, <unfinished ...>) = ?\n",
        "7 +++ killed by SIGKILL +++\n",
    );
    std::fs::write(&file, text).unwrap();
    let (calls, next) = read(&file, 10);
    let lines: Vec<_> = calls.iter().map(|call| (call.name.as_str(), call.began, call.ended, call.succeeded())).collect();
    let sendmsg = ("sendmsg", 14, Some(14), true);
    let (fsync, killed) = (("fsync", 15, None, false), ("pwrite64", 16, None, false));
    assert_eq!(
        lines,
        [("openat", 10, Some(10), true), ("pwrite64", 11, Some(13), true), ("fdatasync", 12, Some(12), false), sendmsg, fsync, killed]
    );
    assert_eq!(calls[5].number(3), 8192);
    assert_eq!((next, calls[1].path(0), calls[1].bytes(1), calls[1].number(3)), (19, "/a/db".into(), b"a, \"b)\n\x012".to_vec(), 4096));
    assert_eq!((calls[0].path(1), calls[3].bytes(1)), ("/a/db".into(), vec![0, 255]));
}

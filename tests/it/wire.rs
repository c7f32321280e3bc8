//! Bytes on the wire, where a client that knows HTTP would not send them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::answers::Answer;
use crate::house::PATIENCE;

/// A connection to a listener.
pub(crate) struct Wire(TcpStream);

impl Wire {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Waits no longer than this for an answer.
    pub(crate) fn within(self, span: Duration) -> Self {
        self.0.set_read_timeout(Some(span)).unwrap();
        self
    }

    /// Sends bytes; a receiver that has heard enough may have closed already.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        drop(self.0.write_all(bytes));
    }

    /// Says that nothing more will be sent.
    pub(crate) fn end(&self) {
        drop(self.0.shutdown(Shutdown::Write));
    }

    /// Reads one answer; `None` when the connection was closed without one, or none came in time.
    pub(crate) fn read(&mut self) -> Option<Answer> {
        let mut reader = BufReader::new(&mut self.0);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                text => lines.push(text.to_owned()),
            }
        }
        let status = lines.first()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<_> =
            lines.iter().filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, length)| length.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some(Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
    }
}

/// Sends a request and reads its answer.
#[track_caller]
pub(crate) fn exchange(address: SocketAddr, head: &str, body: &[u8]) -> Answer {
    let mut wire = Wire::to(address);
    wire.send(format!("{}\r\nHost: house\r\n\r\n", head.trim_end().replace('\n', "\r\n")).as_bytes());
    wire.send(body);
    wire.read().expect("an answer")
}

/// A body in chunks of at most `size` bytes.
pub(crate) fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(size) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

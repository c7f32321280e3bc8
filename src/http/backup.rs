//! `GET /api/v1/backup`: the whole store as of one commit, while it serves (the format: [`crate::storage::backup::format`]).

use std::io::{self, BufWriter, Write};
use std::time::{Duration, Instant};

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::{Problem, access, aside};
use crate::service::Service;
use crate::storage::Error;
use crate::storage::backup::{Broken, Snapshot, Summary};
use crate::telemetry::Backup;

const PIECE_BYTES: usize = 64 * 1024;
/// Pieces that wait for a client who reads slowly.
const PIECES_MAX: usize = 4;
/// A client who takes nothing for this long has gone: others may want a backup.
const STALL_MAX: Duration = Duration::from_secs(60);

/// What goes from the thread that reads the store to the one that answers.
enum Piece {
    Bytes(Bytes),
    /// All of it was written.
    End,
}

/// Takes what is written, and waits for the client.
struct Pieces {
    runtime: Handle,
    /// `None` once the client has gone.
    sender: Option<Sender<Piece>>,
    bytes: u64,
}

/// `GET /api/v1/backup`, scope `operate`: it holds everything about everyone.
pub(super) async fn take(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    access::operate(&request)?;
    let snapshot = aside(service.clone(), |service| Ok(begin(service)?)).await?;
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let pieces = Pieces { runtime: Handle::current(), sender: Some(sender), bytes: 0 };
    let service = service.into_inner();
    // It ends by itself: with the rows, or with the client.
    drop(actix_web::rt::task::spawn_blocking(move || hand_over(&service, snapshot, pieces)));
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_TYPE, "application/octet-stream")).insert_header((CACHE_CONTROL, "no-store"));
    Ok(response.streaming(stream::unfold(Some(receiver), next)))
}

/// Being busy with another one is no failure.
fn begin(service: &Service) -> Result<Snapshot, Error> {
    let snapshot = service.store.snapshot();
    if snapshot.as_ref().is_err_and(|error| !matches!(error, Error::Busy)) {
        service.metrics.backed_up(Backup::Failed, service.clock.now());
    }
    snapshot
}

/// What is sent next. Where pieces end early the connection is broken off, so that even a client who knows nothing of the format notices.
async fn next(receiver: Option<Receiver<Piece>>) -> Option<(io::Result<Bytes>, Option<Receiver<Piece>>)> {
    let mut receiver = receiver?;
    match receiver.recv().await {
        Some(Piece::Bytes(bytes)) => Some((Ok(bytes), Some(receiver))),
        Some(Piece::End) => None,
        None => Some((Err(io::Error::other("the backup was cut off")), None)),
    }
}

fn hand_over(service: &Service, snapshot: Snapshot, mut pieces: Pieces) {
    let began = Instant::now();
    let written = snapshot.write(BufWriter::with_capacity(PIECE_BYTES, &mut pieces));
    let written = written.and_then(|summary| pieces.send(Piece::End).map(|()| summary).map_err(Broken::from));
    let (bytes, seconds) = (pieces.bytes, began.elapsed().as_secs_f64());
    let ended = match written {
        Ok(Summary { rows, contents, .. }) => {
            tracing::info!(rows, bytes, seconds, cursor = contents.cursor, "a backup was handed over");
            Backup::Done
        }
        Err(Broken::Store(error)) => {
            tracing::error!(%error, bytes, seconds, "a backup failed");
            Backup::Failed
        }
        Err(Broken::Out(error)) => {
            tracing::warn!(%error, bytes, seconds, "a backup was cut off");
            Backup::Aborted
        }
    };
    service.metrics.backed_up(ended, service.clock.now());
}

impl Pieces {
    fn send(&mut self, piece: Piece) -> io::Result<()> {
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone, or took nothing for 60 s");
        let sender = self.sender.take().ok_or_else(gone)?;
        self.runtime.block_on(sender.send_timeout(piece, STALL_MAX)).map_err(|_| gone())?;
        self.sender = Some(sender);
        Ok(())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A long value comes as a whole: what waits has to stay small.
        let piece = bytes.get(..PIECE_BYTES).unwrap_or(bytes);
        self.send(Piece::Bytes(Bytes::copy_from_slice(piece)))?;
        self.bytes += piece.len() as u64;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces() -> (tokio::runtime::Runtime, Pieces, Receiver<Piece>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        let pieces = Pieces { runtime: runtime.handle().clone(), sender: Some(sender), bytes: 0 };
        (runtime, pieces, receiver)
    }

    #[test]
    fn what_ends_early_is_broken_off() {
        for whole in [true, false] {
            let (runtime, mut pieces, receiver) = pieces();
            pieces.write_all(b"rows").unwrap();
            if whole {
                pieces.send(Piece::End).unwrap();
            }
            assert_eq!(pieces.bytes, 4);
            drop(pieces);
            let (rows, receiver) = runtime.block_on(next(Some(receiver))).unwrap();
            assert_eq!(rows.unwrap(), "rows");
            match runtime.block_on(next(receiver)) {
                None => assert!(whole),
                Some((end, after)) => assert!(!whole && end.is_err() && after.is_none()),
            }
        }
    }

    #[test]
    fn long_rows_go_in_small_pieces_and_nothing_goes_to_who_has_gone() {
        let (_runtime, mut pieces, mut receiver) = pieces();
        pieces.write_all(&[7; 3 * PIECE_BYTES + 1]).unwrap();
        for bytes in [PIECE_BYTES, PIECE_BYTES, PIECE_BYTES, 1] {
            assert!(matches!(receiver.try_recv(), Ok(Piece::Bytes(piece)) if piece.len() == bytes));
        }
        drop(receiver);
        for _ in 0..2 {
            assert_eq!(pieces.write_all(b"more").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
    }
}

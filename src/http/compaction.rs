//! `POST /api/v1/compaction`: writes the store anew in as little room as it takes, while it serves.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::{Problem, answer, aside};
use crate::service::Service;
use crate::storage::Compaction;

/// What it did, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Compacted {
    /// The database file's before.
    pub bytes_before: u64,
    /// The file's after.
    pub bytes_after: u64,
    /// What it holds.
    pub content_bytes: u64,
}

impl From<Compaction> for Compacted {
    fn from(Compaction { before, after, content }: Compaction) -> Self {
        Self { bytes_before: before, bytes_after: after, content_bytes: content }
    }
}

/// `POST /api/v1/compaction`, scope `operate`: answers when it is done, which may take a minute. It goes on when the client has gone.
pub(super) async fn run(service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let compaction = aside(service, |service| Ok(service.compact()?)).await?;
    answer(&Compacted::from(compaction))
}

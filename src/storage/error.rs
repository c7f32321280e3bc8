//! What the store cannot do, and the remedy.

use std::path::PathBuf;

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process holds the folder.
    #[error("the store in {folder} is in use by another process: stop it, or set store.path to another folder")]
    InUse {
        /// The store's folder.
        folder: PathBuf,
    },
    /// What is on disk cannot be trusted.
    #[error(
        "the store in {folder} is damaged ({what}): move the folder away, then restore a backup (rollcall restore) or start empty; \
         a full sweep then brings the directory back from upstream"
    )]
    Damaged {
        /// The store's folder.
        folder: PathBuf,
        /// What was found.
        what: String,
    },
    /// A store is restored only into a folder that holds nothing.
    #[error("nothing can be restored into {folder} ({what}): move it away, or set store.path to a new or an empty folder")]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
        /// What it holds.
        what: String,
    },
    /// Rows that are sound each for itself do not make a store.
    #[error("this backup does not make a sound store ({what}): take another one")]
    Unsound {
        /// What was found.
        what: String,
    },
    /// Someone has a snapshot already.
    #[error("a backup or a compaction is under way already: wait until it has ended")]
    Busy,
    /// It cannot commit or read just now: disk full, input or output error.
    #[error("the store in {folder} is unavailable: {what}")]
    Unavailable {
        /// The store's folder.
        folder: PathBuf,
        /// What the system said.
        what: String,
    },
}

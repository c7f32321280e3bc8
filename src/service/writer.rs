//! The one writer: takes what waits, decides it in order, commits it once, answers.
//!
//! # Why one writer on a thread of its own
//! The store's commits block on the disk, and every decision needs what the one before it decided. One thread that groups what
//! waits needs no locks around the rules, and its price, one core for all sources, is far above what upstream can send.

use std::time::Instant;

use tokio::sync::{mpsc, watch};

use super::group::{Group, Surroundings};
use super::job::Job;
use super::recent::Recent;
use crate::storage::Error;

/// Deliveries in one commit, at most: beyond that, larger groups only add latency.
pub const GROUP_DELIVERIES_MAX: usize = 64;
/// Bytes of bodies in one commit, at most.
pub const GROUP_BYTES_MAX: usize = 256 * 1024;
/// Jobs that may wait for the writer; more are made to wait outside.
pub const QUEUE_JOBS_MAX: usize = 1024;

/// How often the writer looks for what has expired, in commits; while it finds as much as this, after each commit.
const EXPIRE_EVERY: u64 = 128;
const EXPIRED_MANY: usize = 500;

/// The writer, stepped by its thread or by a test.
#[derive(Debug)]
pub struct Writer {
    around: Surroundings,
    jobs: mpsc::Receiver<Job>,
    watermark: watch::Sender<u64>,
    recent: Recent,
    commits: u64,
    expiring: bool,
}

impl Writer {
    /// A writer that takes jobs from `jobs` and tells the feed's newest cursor through `watermark`.
    #[must_use]
    pub fn new(around: Surroundings, jobs: mpsc::Receiver<Job>, watermark: watch::Sender<u64>) -> Self {
        Self { around, jobs, watermark, recent: Recent::default(), commits: 0, expiring: false }
    }

    /// Steps until everyone who could send a job is gone. Blocks.
    pub fn run(mut self) {
        while let Some(job) = self.jobs.blocking_recv() {
            self.step(job);
        }
    }

    /// Takes one job and whatever waits behind it, commits them, answers them.
    pub fn step(&mut self, first: Job) {
        let began = Instant::now();
        let around = self.around.clone();
        let mut group = Group::new(&around, &mut self.recent);
        let (mut bytes, mut jobs) = (0, 0);
        let mut next = Some(first);
        let mut result = Ok(());
        while let Some(job) = next.take() {
            bytes += body_bytes(&job);
            jobs += 1;
            result = group.take(job);
            if result.is_err() {
                break;
            }
            if group.deliveries() < GROUP_DELIVERIES_MAX && bytes < GROUP_BYTES_MAX && jobs < 4 * GROUP_DELIVERIES_MAX {
                next = self.jobs.try_recv().ok();
            }
        }
        let deliveries = group.deliveries();
        let result = result.and_then(|()| match group.batch() {
            batch if batch.is_empty() => Ok(()),
            batch => around.store.commit(batch),
        });
        match result {
            Ok(()) => {
                if deliveries > 0 {
                    around.metrics.committed(deliveries, began.elapsed());
                }
                self.watermark.send_replace(around.store.watermark());
                group.succeed();
                self.expire();
            }
            Err(error) => refuse(group, &error),
        }
    }

    /// Forgets what is over, a bounded piece at a time.
    fn expire(&mut self) {
        self.commits += 1;
        if !self.expiring && !self.commits.is_multiple_of(EXPIRE_EVERY) {
            return;
        }
        let now = self.around.clock.now();
        let keep = self.around.tenants.values().next().and_then(|tenant| tenant.remember_changes);
        let expired = self.around.store.expire(now, keep.map(|span| now - span));
        self.expiring = matches!(expired, Ok(rows) if rows >= EXPIRED_MANY);
        if let Err(error) = expired {
            tracing::error!(%error, "what has expired could not be forgotten");
        }
    }
}

fn refuse(group: Group<'_>, error: &Error) {
    tracing::error!(%error, "nothing was committed; deliveries are answered 503 until the store works again");
    group.fail();
}

fn body_bytes(job: &Job) -> usize {
    match job {
        Job::Deliver(deliver) => deliver.body.len(),
        Job::Repair(_) => 0,
    }
}

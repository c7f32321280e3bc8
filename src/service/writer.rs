//! The one writer: takes what waits, decides it in order, commits it once, answers.
//!
//! # Why one writer on a thread of its own
//! The store's commits block on the disk, and every decision needs what the one before it decided. One thread that groups what
//! waits needs no locks around the rules, and its price, one core for all sources, is far above what upstream can send.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TryRecvError;
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
/// How often a store that cannot commit is looked after while nothing is asked of it.
const MEND_EVERY: Duration = Duration::from_millis(50);

/// The writer, stepped by its thread or by a test.
#[derive(Debug)]
pub struct Writer {
    around: Surroundings,
    jobs: mpsc::Receiver<Job>,
    watermark: watch::Sender<u64>,
    recent: Recent,
    commits: u64,
    expiring: bool,
    /// Whether the last group was refused: then nothing is tried by itself until the store is mended or someone asks.
    stalled: bool,
    /// Why nothing can be committed, as it was last logged.
    trouble: Option<String>,
}

impl Writer {
    /// A writer that takes jobs from `jobs` and tells the feed's newest cursor through `watermark`.
    #[must_use]
    pub fn new(around: Surroundings, jobs: mpsc::Receiver<Job>, watermark: watch::Sender<u64>) -> Self {
        Self { around, jobs, watermark, recent: Recent::default(), commits: 0, expiring: false, stalled: false, trouble: None }
    }

    /// Steps until everyone who could send a job is gone. Blocks.
    pub fn run(mut self) {
        while let Some(job) = self.next() {
            self.step(job);
        }
    }

    /// Steps until everyone who could send a job is gone, for whoever polls it instead of giving it a thread: a step does not await.
    pub async fn run_polled(mut self) {
        loop {
            while self.around.store.healthy().is_err() {
                self.mend();
                self.around.clock.sleep(MEND_EVERY).await;
            }
            let Some(job) = (if self.has_more_to_tell() { Some(Job::Note) } else { self.jobs.recv().await }) else { return };
            self.step(job);
        }
    }

    /// The next job; meanwhile a store in trouble is mended.
    fn next(&mut self) -> Option<Job> {
        while self.around.store.healthy().is_err() {
            match self.jobs.try_recv() {
                Ok(job) => return Some(job),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => std::thread::park_timeout(MEND_EVERY),
            }
            self.mend();
        }
        // What was refused meanwhile is not to wait for the next delivery.
        if self.has_more_to_tell() { Some(Job::Note) } else { self.jobs.blocking_recv() }
    }

    /// Whether something was refused that the store could not be told then, and can be now.
    fn has_more_to_tell(&self) -> bool {
        !self.stalled && self.around.tenants.values().any(|tenant| tenant.vigil.holds())
    }

    /// Makes the store fit for commits again, if it can. Only between groups: what a group has read would no longer count.
    fn mend(&mut self) {
        if self.trouble.is_none() && self.around.store.healthy().is_ok() {
            return;
        }
        let anew = match self.around.store.mend() {
            Ok(anew) => anew,
            Err(error) => return self.tell(&error),
        };
        tracing::info!(anew, "the store commits again");
        (self.trouble, self.stalled) = (None, false);
        if anew {
            self.around.metrics.store_reopened();
        }
        self.watermark.send_replace(self.around.store.watermark());
        // What a refused group showed may be there nevertheless.
        self.around.tenants.values().for_each(|tenant| tenant.wake.notify_one());
    }

    /// Logs why nothing can be committed, once for each reason.
    fn tell(&mut self, error: &Error) {
        let error = error.to_string();
        if self.trouble.as_ref() != Some(&error) {
            tracing::error!(error, "nothing can be committed; deliveries are answered 503 until the store works again");
            self.trouble = Some(error);
        }
    }

    /// Takes one job and whatever waits behind it, commits them, answers them.
    pub fn step(&mut self, first: Job) {
        self.mend();
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
        let result = result.and_then(|()| group.tell_held()).and_then(|()| match group.batch() {
            batch if batch.is_empty() => Ok(()),
            batch => around.store.commit(batch),
        });
        match result {
            Ok(()) => {
                if deliveries > 0 {
                    around.metrics.committed(deliveries, began.elapsed());
                }
                self.stalled = false;
                self.watermark.send_replace(around.store.watermark());
                group.succeed();
                self.tidy();
            }
            Err(error) => {
                group.fail();
                self.refused(&error);
            }
        }
    }

    /// After a commit that failed, what was known of records is not to be believed any more.
    fn refused(&mut self, error: &Error) {
        (self.recent, self.stalled) = (Recent::default(), true);
        match self.around.store.healthy() {
            Ok(()) => tracing::error!(%error, "nothing was committed; whoever waited is answered 503"),
            Err(error) => self.tell(&error),
        }
    }

    /// Does what commits leave to be done, and forgets what is over, a bounded piece at a time.
    fn tidy(&mut self) {
        if let Err(error) = self.around.store.tidy() {
            return self.refused(&error);
        }
        self.commits += 1;
        if !self.expiring && !self.commits.is_multiple_of(EXPIRE_EVERY) {
            return;
        }
        let now = self.around.clock.now();
        let keep = self.around.tenants.values().next().and_then(|tenant| tenant.remember_changes);
        let expired = self.around.store.expire(now, keep.map(|span| now - span));
        self.expiring = matches!(expired, Ok(rows) if rows >= EXPIRED_MANY);
        if let Err(error) = expired {
            self.refused(&error);
        }
    }
}

fn body_bytes(job: &Job) -> usize {
    match job {
        Job::Deliver(deliver) => deliver.body.len(),
        Job::Repair(_) | Job::Note => 0,
    }
}

//! The tree and what is pending before it, as one.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::ops::{Bound, RangeBounds};

use sled::IVec;

use super::durable::Durable;
use super::pending::{Bounds, BoxedRows, Held, comes_first};
use super::rows::{Rows, Scan};
use crate::storage::Error;

impl Durable {
    /// The value at `key`.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<IVec>, Error> {
        match self.pending.get(key) {
            Some(held) => self.rows.pending(key, held),
            None => self.rows.get(key),
        }
    }

    /// The rows of a range, upwards or downwards by key, each with its whole value.
    pub(super) fn scan<'a>(&'a self, range: impl RangeBounds<Vec<u8>>, upwards: bool) -> Merged<'a> {
        self.scan_behind(|bounds| self.pending.range(bounds, upwards), range, upwards)
    }

    /// The rows of a range, where others are pending before the tree.
    pub(super) fn scan_behind<'a>(
        &'a self,
        pending: impl FnOnce(Bounds<'_>) -> BoxedRows<'a, Held>,
        range: impl RangeBounds<Vec<u8>>,
        upwards: bool,
    ) -> Merged<'a> {
        let (begin, end) = (range.start_bound().cloned(), range.end_bound().cloned());
        let pending = pending((slice(&begin), slice(&end)));
        Merged { durable: self, pending: pending.peekable(), tree: self.rows.scan((begin, end), upwards).peekable(), upwards }
    }

    /// The last row of a range.
    pub(super) fn last(&self, range: impl RangeBounds<Vec<u8>>) -> Result<Option<(IVec, IVec)>, Error> {
        self.scan(range, false).next().transpose()
    }
}

impl Rows {
    /// The value that is pending at `key`.
    pub(super) fn pending(&self, key: &[u8], held: Held) -> Result<Option<IVec>, Error> {
        if !self.is_open() {
            return Err(self.closed());
        }
        match held {
            Held::Gone => Ok(None),
            Held::Short(short) => Ok(Some(short.content().into())),
            Held::At(file, place) => match place.read(&file, key) {
                Ok(value) => Ok(Some(value.into())),
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(self.damaged("a row of its journal is broken")),
                Err(error) => Err(self.unavailable(error)),
            },
        }
    }
}

fn slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

/// A range of both.
pub(super) struct Merged<'a> {
    durable: &'a Durable,
    pending: Peekable<BoxedRows<'a, Held>>,
    tree: Peekable<Scan<'a>>,
    upwards: bool,
}

impl Iterator for Merged<'_> {
    type Item = Result<(IVec, IVec), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let tree = match self.tree.peek() {
                Some(Err(_)) => return self.tree.next(),
                // It is about to settle: what it was made of is still pending.
                Some(Ok((key, _))) if !self.durable.settled.holds(key) => {
                    drop(self.tree.next());
                    continue;
                }
                Some(Ok((key, _))) => Some(key.as_ref()),
                None => None,
            };
            let order = comes_first(self.pending.peek().map(|(key, _)| *key), tree, self.upwards);
            if order.is_gt() {
                return self.tree.next();
            }
            if order == Ordering::Equal {
                // What is pending is newer.
                drop(self.tree.next());
            }
            let (key, held) = self.pending.next()?;
            match self.durable.rows.pending(key, held) {
                Ok(None) => {}
                Ok(Some(value)) => return Some(Ok((key.into(), value))),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

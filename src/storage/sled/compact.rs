//! Compaction: the tree is written anew beside itself, and takes its place as one step.
//!
//! # Why
//! sled gives no room back to the file system: its file stays as long as it ever was, and what it holds lies scattered in it. Where much was
//! forgotten, or grew and shrank, a new file is the only way to a small one.

use std::fs;
use std::fs::File;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use super::copy::{STEP_BYTES, Turn};
use super::rows::Rows;
use super::{Sled, folder, keys};
use crate::storage::{Compaction, Error};

/// Rows that are looked at with the readers' lock held.
const STEP_ROWS: usize = 256;
/// So much has to be free beside a second tree.
const ROOM_BYTES_MIN: u64 = 64 * 1024 * 1024;

impl Sled {
    /// Bytes of all that the tree holds, in keys and values.
    pub(in crate::storage) fn content_bytes(&self, wanted: &dyn Fn() -> bool) -> Result<u64, Error> {
        let mut bytes = 0;
        self.each_step(wanted, |rows| {
            bytes += rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>();
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Bytes of the tree's file.
    pub(in crate::storage) fn tree_file_bytes(&self) -> u64 {
        self.tree_bytes(&self.writer.lock())
    }

    pub(in crate::storage) fn compact(&self, wanted: &dyn Fn() -> bool) -> Result<Compaction, Error> {
        let content = self.content_bytes(wanted)?;
        let (turn, tree, before) = {
            let mut writer = self.writer.lock();
            self.healthy()?;
            while !self.settled(&mut writer, true)? {}
            (self.copying.turn()?, writer.tree, self.tree_bytes(&writer))
        };
        if self.free_bytes().is_some_and(|free| free < content.saturating_mul(2).saturating_add(ROOM_BYTES_MIN)) {
            let what = "there is too little room for a second copy on its file system".to_owned();
            return Err(Error::Unavailable { folder: self.folder.clone(), what });
        }
        let place = folder::tree_at(&self.folder, tree.saturating_add(1));
        let wanted = || wanted() && !turn.is_cancelled();
        let moved = self.write_anew(&place, &wanted).and_then(|(rows, file)| self.take_over((rows, file), &turn));
        let old = folder::tree_at(&self.folder, if moved.is_ok() { tree } else { tree.saturating_add(1) });
        // A store in trouble is opened anew: only that tells which tree counts. What stays here is taken away then.
        if self.healthy().is_ok() {
            drop(fs::remove_dir_all(old));
        }
        drop(turn);
        moved.map(|after| Compaction { before, after, content })
    }

    /// Copies every row of the tree, which stands still meanwhile, into a new one.
    fn write_anew(&self, place: &Path, wanted: &dyn Fn() -> bool) -> Result<(Rows, File), Error> {
        let unavailable = |error: std::io::Error| Error::Unavailable { folder: self.folder.clone(), what: error.to_string() };
        if place.exists() {
            fs::remove_dir_all(place).map_err(unavailable)?;
        }
        let tree = folder::make_tree(&self.folder, place)?;
        self.each_step(wanted, |rows| {
            let mut writes = sled::Batch::default();
            rows.iter().for_each(|(key, value)| tree.insert(&mut writes, key, value));
            tree.apply(writes)?;
            super::reclaim();
            Ok(())
        })?;
        tree.flush()?;
        let file = File::open(place.join(folder::DATABASE)).map_err(unavailable)?;
        file.sync_all().and_then(|()| folder::sync_new(&self.folder, place)).map_err(unavailable)?;
        Ok((tree, file))
    }

    /// Puts a new tree in the place of the former one; returns its bytes.
    fn take_over(&self, (rows, file): (Rows, File), turn: &Turn) -> Result<u64, Error> {
        let mut writer = self.writer.lock();
        self.healthy()?;
        // The former tree is in nobody's hands then.
        while !self.settled(&mut writer, true)? {}
        if turn.is_cancelled() {
            return Err(rows.unavailable("it had to go on before its copy was whole"));
        }
        let bytes = file.metadata().map_or(0, |file| file.len());
        writer.tree += 1;
        let marked = folder::write_mark(&self.folder, self.mark(&writer)).and_then(|()| self.faults.meet());
        if let Err(error) = marked {
            // Either tree may count now: nothing may settle in one that does not.
            writer.tree -= 1;
            return Err(self.fail(&mut writer, &error.to_string()));
        }
        writer.file = Arc::new(file);
        let former = std::mem::replace(&mut self.durable.write().rows, rows);
        drop(writer);
        drop(former);
        Ok(bytes)
    }

    /// Hands over the tree's rows, upwards, a step at a time, as long as that is wanted.
    fn each_step(
        &self,
        wanted: &dyn Fn() -> bool,
        mut each: impl FnMut(&[(sled::IVec, sled::IVec)]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut from = Some(Bound::Unbounded);
        while let Some(begin) = from.take() {
            let (mut rows, mut bytes) = (Vec::new(), 0);
            let durable = self.durable.read();
            if !wanted() {
                return Err(durable.rows.unavailable("it was called off before it was done"));
            }
            for row in durable.rows.scan((begin, Bound::Excluded(keys::behind_everything())), true) {
                let (key, value) = row?;
                bytes += key.len() + value.len();
                rows.push((key, value));
                if bytes >= STEP_BYTES || rows.len() >= STEP_ROWS {
                    from = rows.last().map(|(key, _)| Bound::Excluded(key.to_vec()));
                    break;
                }
            }
            drop(durable);
            each(&rows)?;
        }
        Ok(())
    }
}

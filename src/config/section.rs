//! One section of the settings while it is read: typed values out, faults aside, and every key that nobody asked for is one.

use toml::{Table, Value};

use super::fault::{Faults, join, unknown};

/// A table and its dotted path. Read all of its keys, then [`Section::finish`] it.
pub(super) struct Section {
    path: String,
    table: Table,
    /// It stood where a table should stand: that is told already, and its keys are not missed.
    broken: bool,
    known: Vec<&'static str>,
    faults: Faults,
}

impl Section {
    pub(super) fn new(path: impl Into<String>, table: Table) -> Self {
        Self { path: path.into(), table, broken: false, known: Vec::new(), faults: Faults::default() }
    }

    /// Reads the sub-section under `key`, an empty one when there is none, and finishes it.
    pub(super) fn within<T>(&mut self, key: &'static str, faults: &mut Faults, read: impl FnOnce(&mut Self) -> T) -> T {
        self.known.push(key);
        let mut inner = Self::new(join(&self.path, key), Table::new());
        match self.table.remove(key) {
            Some(Value::Table(table)) => inner.table = table,
            None => inner.broken = self.broken,
            Some(_) => {
                inner.broken = true;
                self.fault(key, "must be a section of keys, not a value");
            }
        }
        let found = read(&mut inner);
        inner.finish(faults);
        found
    }

    /// Whether the key is set, whatever it holds.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Reads a key that may be absent. `None` too when it is faulty.
    pub(super) fn may<T, E: Into<String>>(&mut self, key: &'static str, read: impl FnOnce(&Value) -> Result<T, E>) -> Option<T> {
        self.known.push(key);
        let value = self.table.remove(key)?;
        read(&value).map_err(|sentence| self.fault(key, sentence)).ok()
    }

    /// Reads a key that must be there. `None` when it is absent or faulty, which is told then.
    pub(super) fn must<T, E: Into<String>>(&mut self, key: &'static str, read: impl FnOnce(&Value) -> Result<T, E>) -> Option<T> {
        if !self.has(key) && !self.broken {
            self.fault(key, "is required");
        }
        self.may(key, read)
    }

    /// A key of something that is not built yet: set, it is a fault that says so, with the remedy.
    pub(super) fn unbuilt(&mut self, key: &'static str, remedy: &str) {
        self.may(key, |_| Err::<(), _>(format!("is not built yet; {remedy}")));
    }

    /// Notes a fault of one key.
    pub(super) fn fault(&mut self, key: &str, sentence: impl Into<String>) {
        self.faults.push(join(&self.path, key), sentence);
    }

    /// The full dotted path of a key.
    pub(super) fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Tells what was found wrong, and every key that nobody asked for.
    pub(super) fn finish(mut self, faults: &mut Faults) {
        for key in self.table.keys() {
            self.faults.push(join(&self.path, key), unknown(&self.path, key, &self.known));
        }
        faults.0.append(&mut self.faults.0);
    }
}

//! A store that is restored: built in a folder inside of its folder, and moved into its place as the last step.
//!
//! # Why inside
//! Its folder may be the root of a mounted volume: that can be filled, not replaced by renaming. So every file is renamed on its own, the one
//! by which a store is known last. Until then whoever opens the folder meets [`UNFINISHED`] and refuses.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::Summary;
use crate::storage::Error;

/// The folder in which it is built.
pub(in crate::storage) const UNFINISHED: &str = "restoring";

/// What an unfinished restore looks like to whoever opens its folder.
pub(in crate::storage) const UNFINISHED_WORDS: &str = "a restore into it was not finished: empty it, and restore again";

/// Takes away what it made when it is dropped before it is kept.
#[derive(Debug)]
pub(in crate::storage) struct Building {
    folder: PathBuf,
    at: PathBuf,
    /// Folders that were not there, the outermost first.
    made: Vec<PathBuf>,
    /// Files that are in their place.
    moved: Vec<PathBuf>,
    kept: bool,
}

/// A restored store that was read back. Nobody can open it before it is kept; dropped, it is gone.
#[derive(Debug)]
pub struct Restored {
    pub(in crate::storage) building: Building,
    pub(in crate::storage) summary: Summary,
    /// The file by which the engine knows a store.
    pub(in crate::storage) mark: &'static str,
}

impl Restored {
    /// What was read back.
    #[must_use]
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Puts it in its place, for good.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; what was made is gone then.
    pub fn keep(mut self) -> Result<(), Error> {
        self.building.keep(self.mark).map_err(|error| self.building.unavailable(&error))
    }
}

impl Building {
    /// Begins in a folder that is empty or not there.
    ///
    /// # Errors
    /// [`Error::NotEmpty`], [`Error::Unavailable`].
    pub(in crate::storage) fn begin(folder: &Path) -> Result<Self, Error> {
        let made = folder.ancestors().filter(|above| !above.as_os_str().is_empty()).take_while(|above| !above.exists());
        let mut made: Vec<PathBuf> = made.map(Path::to_owned).collect();
        made.reverse();
        let at = folder.join(UNFINISHED);
        let mut building = Self { folder: folder.to_owned(), at, made: Vec::new(), moved: Vec::new(), kept: false };
        // What is there already is not ours to take away.
        refuse_content(folder).inspect_err(|_| building.kept = true)?;
        building.made = made;
        building.create().map_err(|error| building.unavailable(&error))?;
        Ok(building)
    }

    /// Where to build.
    pub(in crate::storage) fn at(&self) -> &Path {
        &self.at
    }

    fn create(&self) -> io::Result<()> {
        for folder in self.made.iter().chain([&self.at]) {
            DirBuilder::new().mode(0o700).create(folder)?;
            sync(folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }

    fn keep(&mut self, mark: &str) -> io::Result<()> {
        let names: Vec<_> = fs::read_dir(&self.at)?.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<_, _>>()?;
        for name in names.iter().filter(|name| *name != mark) {
            self.put(Path::new(name))?;
        }
        sync(&self.folder)?;
        self.put(Path::new(mark))?;
        sync(&self.folder)?;
        self.kept = true;
        // It is empty, and known not to matter where there is a mark.
        drop(fs::remove_dir(&self.at));
        Ok(())
    }

    fn put(&mut self, name: &Path) -> io::Result<()> {
        let place = self.folder.join(name);
        fs::rename(self.at.join(name), &place)?;
        self.moved.push(place);
        Ok(())
    }

    fn unavailable(&self, error: &io::Error) -> Error {
        Error::Unavailable { folder: self.folder.clone(), what: error.to_string() }
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // The mark first, so that no half of a store is ever known as one. What cannot be taken away is refused by whoever opens it.
        for file in self.moved.iter().rev() {
            drop(fs::remove_file(file).or_else(|_| fs::remove_dir_all(file)));
        }
        drop(fs::remove_dir_all(&self.at));
        for folder in self.made.iter().rev() {
            drop(fs::remove_dir(folder));
        }
    }
}

/// What file systems put into a new volume does not count.
fn refuse_content(folder: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries,
    };
    let unavailable = |error: io::Error| Error::Unavailable { folder: folder.to_owned(), what: error.to_string() };
    for entry in entries.map_err(unavailable)? {
        let name = entry.map_err(unavailable)?.file_name();
        let name = name.to_string_lossy();
        if name != "lost+found" && !name.starts_with('.') {
            let what = if name == UNFINISHED { UNFINISHED_WORDS.to_owned() } else { format!("it holds {name}") };
            return Err(Error::NotEmpty { folder: folder.to_owned(), what });
        }
    }
    Ok(())
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(folder: &Path) -> Building {
        let building = Building::begin(folder).unwrap();
        for name in ["db", "mark"] {
            fs::write(building.at().join(name), name).unwrap();
        }
        fs::create_dir(building.at().join("blobs")).unwrap();
        building
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_kept_is_in_its_place_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("some/where");
        let mut building = build(&deep);
        assert_eq!(names(&deep), [UNFINISHED]);
        building.keep("mark").unwrap();
        drop(building);
        assert_eq!(names(&deep), ["blobs", "db", "mark"]);
    }

    #[test]
    fn what_is_not_kept_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(build(&folder.path().join("some/where")));
        drop(build(folder.path()));
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_kept_as_a_whole_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut building = build(folder.path());
        building.keep("another mark").unwrap_err();
        drop(building);
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("lost+found")).unwrap();
        drop(build(folder.path()));
        for name in ["db", UNFINISHED] {
            fs::write(folder.path().join(name), "").unwrap();
            let error = Building::begin(folder.path()).unwrap_err();
            assert!(matches!(error, Error::NotEmpty { .. }), "{error}");
            assert!(folder.path().join(name).exists());
            fs::remove_file(folder.path().join(name)).unwrap();
        }
    }
}

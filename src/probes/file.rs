//! `ready=file:/path`: waits for a file with inotify(7), without polling.

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::stat::{lstat, stat};
use std::path::Path;

/// Waits until something exists at a path. All directories of the path that exist are watched, so it does not matter which of
/// them are made, moved or deleted meanwhile. A symbolic link is followed, but where its missing target would be is not watched: then
/// only trying again and again is left.
#[derive(Debug)]
pub struct FileWatch {
    /// What to poll, for reading. Dropping the watch closes it.
    pub inotify: Inotify,
    path: Box<Path>,
}

impl FileWatch {
    /// Begins to watch an absolute path. Call [`FileWatch::exists`] at once: the file may exist already.
    ///
    /// # Errors
    /// EMFILE: the user has no inotify instance left (fs.inotify.max_user_instances). Then only trying again and again is left.
    pub fn begin(path: &Path) -> Result<Self, Errno> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Self { inotify, path: path.into() })
    }

    /// Whether the path exists now. Takes the events that have come; afterwards the descriptor is ready as soon as it may exist.
    ///
    /// # Errors
    /// ENOSPC, EACCES, ENOMEM: the last directory that exists cannot be watched. ENOENT: a symbolic link has no target.
    pub fn exists(&self) -> Result<bool, Errno> {
        // Which events there are, or that some were lost, does not matter.
        let _ = self.inotify.read_events();
        let mut directories: Vec<&Path> = self.path.ancestors().skip(1).collect();
        let flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
        let mut watched = Ok(());
        // From the root on: whatever is made after its directory was found missing is an event in the directory above it.
        while let Some(directory) = directories.pop() {
            watched = match self.inotify.add_watch(directory, flags) {
                Err(Errno::ENOENT | Errno::ENOTDIR) => break,
                added => added.map(drop),
            };
        }
        if stat(&*self.path).is_ok() {
            return Ok(true);
        }
        // Where the target of a symbolic link would be is not watched.
        let has_broken_link = self.path.ancestors().any(|path| stat(path).is_err() && lstat(path).is_ok());
        if has_broken_link { Err(Errno::ENOENT) } else { watched.map(|()| false) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::fs;
    use std::os::fd::AsFd as _;
    use std::path::PathBuf;

    /// Serves the watch as the daemon does, until the file exists. Panics after ten seconds without an event.
    fn wait(watch: &FileWatch) {
        while !watch.exists().unwrap() {
            assert!(is_ready(watch, 10_000), "no event for {watch:?}");
        }
    }

    fn is_ready(watch: &FileWatch, millis: u16) -> bool {
        let mut polled = [PollFd::new(watch.inotify.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::from(millis)) == Ok(1)
    }

    /// Handles all events, after which the file must still be absent.
    fn settle(watch: &FileWatch) {
        assert_eq!(watch.exists(), Ok(false));
        while is_ready(watch, 0) {
            assert_eq!(watch.exists(), Ok(false));
        }
    }

    fn watched(below: &str) -> (tempfile::TempDir, PathBuf, FileWatch) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(below);
        let watch = FileWatch::begin(&path).unwrap();
        (dir, path, watch)
    }

    #[test]
    fn a_file_that_exists_is_found_at_once_and_one_that_is_made_by_an_event() {
        let (_dir, path, watch) = watched("ready");
        settle(&watch);
        fs::write(&path, "").unwrap();
        wait(&watch);
        assert_eq!(FileWatch::begin(&path).unwrap().exists(), Ok(true));
    }

    #[test]
    fn a_file_may_be_moved_or_linked_to_its_place_or_be_a_directory() {
        let makes: [fn(&Path, &Path); 4] = [
            |other, path| {
                fs::write(other, "").unwrap();
                fs::rename(other, path).unwrap();
            },
            |other, path| {
                fs::write(other, "").unwrap();
                fs::hard_link(other, path).unwrap();
            },
            |_, path| std::os::unix::fs::symlink("/", path).unwrap(),
            |_, path| fs::create_dir(path).unwrap(),
        ];
        for make in makes {
            let (dir, path, watch) = watched("ready");
            settle(&watch);
            make(&dir.path().join("other"), &path);
            wait(&watch);
        }
    }

    #[test]
    fn its_directories_may_be_made_later() {
        let (dir, path, watch) = watched("a/b/c/ready");
        settle(&watch);
        fs::create_dir(dir.path().join("a")).unwrap();
        settle(&watch);
        // More than one step between two events.
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        wait(&watch);
    }

    #[test]
    fn its_directories_may_be_deleted_moved_and_made_again() {
        let (dir, path, watch) = watched("a/b/ready");
        let [a, b] = [dir.path().join("a"), dir.path().join("a/b")];
        fs::create_dir_all(&b).unwrap();
        settle(&watch);
        fs::remove_dir_all(&a).unwrap();
        settle(&watch);
        fs::create_dir_all(&b).unwrap();
        settle(&watch);
        fs::rename(&a, dir.path().join("old")).unwrap();
        fs::write(dir.path().join("old/b/ready"), "").unwrap();
        settle(&watch);
        fs::create_dir_all(&b).unwrap();
        fs::rename(dir.path().join("old/b/ready"), &path).unwrap();
        wait(&watch);
    }

    #[test]
    fn a_directory_may_begin_as_a_file_and_may_be_a_symbolic_link() {
        let (dir, _, watch) = watched("run/app/ready");
        fs::write(dir.path().join("run"), "").unwrap();
        settle(&watch);
        fs::remove_file(dir.path().join("run")).unwrap();
        fs::create_dir_all(dir.path().join("target/app")).unwrap();
        std::os::unix::fs::symlink("target", dir.path().join("run")).unwrap();
        settle(&watch);
        fs::write(dir.path().join("target/app/ready"), "").unwrap();
        wait(&watch);
    }

    #[test]
    fn events_of_other_files_and_lost_events_change_nothing() {
        let (dir, path, watch) = watched("ready");
        settle(&watch);
        let other = dir.path().join("other");
        let most: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
        // Two equal events in a row are one.
        for n in 0..=most.min(40_000) {
            let name = if n % 2 == 0 { &other } else { &dir.path().join("another") };
            fs::write(name, "").unwrap();
            fs::remove_file(name).unwrap();
        }
        fs::write(&path, "").unwrap();
        assert!(is_ready(&watch, 0));
        wait(&watch);
        assert_eq!(FileWatch::begin(&path).unwrap().exists(), Ok(true));
    }

    #[test]
    fn a_link_to_nothing_does_not_exist() {
        let (dir, path, watch) = watched("ready");
        std::os::unix::fs::symlink("missing", &path).unwrap();
        assert_eq!(watch.exists(), Err(Errno::ENOENT), "no event reports a target elsewhere");
        fs::write(dir.path().join("missing"), "").unwrap();
        wait(&watch);
    }
}

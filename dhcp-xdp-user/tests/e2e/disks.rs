//! Disks that fail when they are told to.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use xtask::command;

/// A file system in memory, of so many bytes; unmounted when dropped.
pub struct Memory(pub PathBuf);

impl Memory {
    pub fn mount(at: PathBuf, size: &str) -> Result<Self> {
        fs::create_dir_all(&at)?;
        let mut mount = Command::new("mount");
        command::output(mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&at))?;
        Ok(Self(at))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// Lazily: whoever still has a file open there is being ended.
fn unmount(at: &Path) {
    let _ = Command::new("umount").arg("-l").arg(at).status();
}

/// A file system on a block device of its own: one that can be stopped, and one whose files can be made immutable.
pub struct Ext4(pub PathBuf);

impl Ext4 {
    /// Makes one of 64 MiB in `folder`.
    pub fn mount(folder: &Path) -> Result<Self> {
        let (image, at) = (folder.join("disk.img"), folder.join("disk"));
        fs::File::create(&image)?.set_len(64 << 20)?;
        fs::create_dir_all(&at)?;
        command::output(command::tool("mkfs.ext4")?.args(["-q", "-F"]).arg(&image))?;
        let mounted = command::output(command::tool("mount")?.args(["-o", "loop"]).arg(&image).arg(&at));
        mounted.context("no loop device can be mounted")?;
        Ok(Self(at))
    }

    /// Until the result is dropped, whoever writes waits: a disk that stalls.
    pub fn freeze(&self) -> Result<Frozen<'_>> {
        command::output(command::tool("fsfreeze")?.arg("--freeze").arg(&self.0))?;
        Ok(Frozen(self))
    }

    /// Lets nobody write to a folder of it or to what is in there, root included, also through files that are open already;
    /// or lets them again.
    pub fn set_immutable(&self, folder: &Path, immutable: bool) -> Result<()> {
        let flag = if immutable { "+i" } else { "-i" };
        // The folder itself, and files only: sockets have no such flag.
        let files = fs::read_dir(folder)?.filter_map(|entry| entry.ok().filter(|it| it.path().is_file()));
        let paths: Vec<PathBuf> = files.map(|entry| entry.path()).chain([folder.to_owned()]).collect();
        command::output(command::tool("chattr")?.arg(flag).args(paths)).map(drop)
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// See [`Ext4::freeze`].
pub struct Frozen<'a>(&'a Ext4);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = command::tool("fsfreeze").map(|mut command| command.arg("--unfreeze").arg(&self.0.0).status());
    }
}

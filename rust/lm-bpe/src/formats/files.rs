//! Whole files or none: what is written under a name is either the old content or the new, never a part of it.
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::{io, wrong};
use crate::Error;

/// The text of a file; content that is no UTF-8 is refused with its position.
pub(super) fn read_text(path: &Path) -> Result<String, Error> {
    let content = fs::read(path).map_err(|error| io(path, &error))?;
    String::from_utf8(content).map_err(|error| {
        let place = format!("byte {}", error.utf8_error().valid_up_to());
        wrong(path, place, "not UTF-8 text; is this a tokenizer file?")
    })
}

/// Writes `content` beside `path`, syncs it to disk, and renames it over `path`; after an error `path` is as it was.
pub(super) fn write_bytes(path: &Path, content: &[u8]) -> Result<(), Error> {
    let unfinished = Unfinished::beside(path)?;
    let written = File::create(unfinished.path()).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(|error| io(path, &error))?;
    unfinished.rename_to(path)
}

/// The place of a file that is being written; whatever is there is removed unless it is renamed.
pub(super) struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    /// A hidden name in the folder of `path`, of this process's own. A `path` that is a folder is refused here, before
    /// any work, and so is a device such as `/dev/null`: renaming would put a file in its place.
    pub(super) fn beside(path: &Path) -> Result<Self, Error> {
        let Some(name) = path.file_name() else {
            return Err(wrong(path, "", "names no file to write"));
        };
        match fs::metadata(path) {
            Ok(there) if there.is_dir() => return Err(wrong(path, "", "a folder; name a file in it to write")),
            Ok(there) if !there.is_file() => return Err(wrong(path, "", "no regular file; name another to write")),
            _ => {}
        }
        let mut hidden = std::ffi::OsString::from(".tmp-");
        hidden.push(name);
        hidden.push(format!("-{}", std::process::id()));
        Ok(Self { path: folder_of(path).join(hidden) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file, which is synced, its name.
    pub(super) fn rename_to(self, path: &Path) -> Result<(), Error> {
        fs::rename(&self.path, path).map_err(|error| io(path, &error))?;
        // The rename survives a power cut once the folder is synced; a few file systems cannot sync a folder.
        if let Ok(folder) = File::open(folder_of(path)) {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove; after a failure, which is reported, this tidies up.
        let _ = fs::remove_file(&self.path);
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

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
    let Some(name) = path.file_name() else {
        return Err(wrong(path, "", "names no file to write"));
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut hidden = std::ffi::OsString::from(".tmp-");
    hidden.push(name);
    hidden.push(format!("-{}", std::process::id()));
    let temporary: PathBuf = folder.join(hidden);
    let written = write_synced(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // The write has failed and is reported; that its remains cannot be removed would add nothing.
        let _ = fs::remove_file(&temporary);
        return Err(io(path, &error));
    }
    // The rename survives a power cut once the folder is synced; a few file systems cannot sync a folder.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

fn write_synced(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

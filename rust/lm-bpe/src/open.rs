//! Files of text, which may be compressed: `.gz` (RFC 1952) and `.zst` (RFC 8878) by their names, any number of
//! members or frames in a row. Memory is bounded: 128 MiB for the window of a zstd frame, larger ones are refused.
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Compressed bytes that are read at a time.
const BUFFER: usize = 1 << 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstandard,
}

fn compression(path: &Path) -> Compression {
    match path.extension().map(|extension| extension.to_ascii_lowercase()) {
        Some(extension) if extension == "gz" => Compression::Gzip,
        Some(extension) if extension == "zst" => Compression::Zstandard,
        _ => Compression::None,
    }
}

/// Whether a file's name says that it is compressed, so that its size is not that of its text.
pub fn is_compressed(path: &Path) -> bool {
    compression(path) != Compression::None
}

/// The name of a file without an ending that says that it is compressed.
pub(crate) fn without_compression(path: &Path) -> &Path {
    if is_compressed(path) { path.file_stem().map_or(path, Path::new) } else { path }
}

/// The text of a file, unpacked; `-` is standard input.
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    open_counted(path, &Arc::default())
}

/// As [`open`]; what is read of the file, as it lies on the disk, is added to `count`.
pub(crate) fn open_counted(path: &Path, count: &Arc<AtomicU64>) -> io::Result<Box<dyn Read + Send>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin()));
    }
    let file = Counted { file: File::open(path)?, count: Arc::clone(count) };
    let packed = |file| BufReader::with_capacity(BUFFER, file);
    Ok(match compression(path) {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(Unpacked { format: "gzip", source: MultiGzDecoder::new(packed(file)) }),
        Compression::Zstandard => Box::new(Unpacked { format: "zstd", source: Frames::new(packed(file)) }),
    })
}

struct Counted {
    file: File,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// A decompressor whose errors say which format the data fail to be.
struct Unpacked<R> {
    format: &'static str,
    source: R,
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.read(buffer).map_err(|error| match error.raw_os_error() {
            Some(_) => error,
            None => io::Error::new(error.kind(), format!("not whole {} data: {error}", self.format)),
        })
    }
}

/// The content of zstd frames in a row; frames that are to be skipped are, and checksums are checked.
struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
    begun: bool,
}

impl<R: BufRead> Frames<R> {
    fn new(source: R) -> Self {
        Self { source, decoder: FrameDecoder::new(), in_frame: false, begun: false }
    }

    /// Goes to the next frame; `false` if there is none.
    fn next(&mut self) -> io::Result<bool> {
        loop {
            if self.begun && self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            self.begun = true; // a file without any frame is not whole
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let length = u64::from(length);
                    if io::copy(&mut self.source.by_ref().take(length), &mut io::sink())? < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(plain(&error)),
            }
        }
    }
}

/// A decoder's error in words for whoever owns the file; the system's own refusals stay as they are.
fn plain(error: &FrameDecoderError) -> io::Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(read) = inner.downcast_ref::<io::Error>() {
            return match read.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(read.kind(), "it ends too early"),
            };
        }
        cause = inner.source();
    }
    io::Error::other(match error {
        FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::BadMagicNumber(found)) => {
            format!("{:02x?} is where a frame should begin", found.to_le_bytes())
        }
        FrameDecoderError::WindowSizeTooBig { requested, max } => {
            format!("it asks for a window of {requested} bytes, and the most is {max}; pack it again without --long")
        }
        FrameDecoderError::DictNotProvided { dict_id } => {
            format!("it needs the dictionary {dict_id}; pack it again without one")
        }
        _ => "a part of it is damaged".to_owned(),
    })
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.in_frame && !self.next()? {
                return Ok(0);
            }
            self.in_frame = true;
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, one).map_err(|error| plain(&error))?;
            }
            let read = self.decoder.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let wanted = self.decoder.get_checksum_from_data();
            if wanted.is_some() && wanted != self.decoder.get_calculated_checksum() {
                return Err(io::Error::other("its checksum is another"));
            }
            self.in_frame = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression as Level, write::GzEncoder};
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::Write;

    fn text() -> Vec<u8> {
        (0..300_000u32)
            .flat_map(|number| format!("{} ", number.wrapping_mul(2_654_435_761) >> 20).into_bytes())
            .collect()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Level::fast());
        packed.write_all(text).unwrap();
        packed.finish().unwrap()
    }

    fn unpack(format: &'static str, packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        match format {
            "gzip" => Unpacked { format, source: MultiGzDecoder::new(packed) }.read_to_end(&mut text)?,
            _ => Unpacked { format, source: Frames::new(packed) }.read_to_end(&mut text)?,
        };
        Ok(text)
    }

    #[test]
    fn members_and_frames_in_a_row_are_one_text() {
        let text = text();
        let (first, second) = text.split_at(123_456);
        let zstd = |text| compress_to_vec(text, CompressionLevel::Fastest);
        let skipped = [&0x184D_2A50u32.to_le_bytes()[..], &5u32.to_le_bytes(), b"notes"].concat();
        for (format, packed) in [
            ("gzip", [gzip(first), gzip(b""), gzip(second)].concat()),
            ("zstd", [zstd(first), skipped, zstd(b""), zstd(second)].concat()),
        ] {
            assert!(unpack(format, &packed).unwrap() == text, "{format}");
        }
    }

    #[test]
    fn what_is_wrong_with_zstd_data_is_said_in_plain_words() {
        let packed = compress_to_vec(&b"the sea and the lamp"[..], CompressionLevel::Fastest);
        let wide = [&0xFD2F_B528u32.to_le_bytes()[..], &[0, 0xa8]].concat();
        let with_dictionary = [&0xFD2F_B528u32.to_le_bytes()[..], &[1, 0, 7, 1, 0, 0]].concat();
        let mut damaged = packed.clone();
        damaged[6] |= 6; // a type of block that there is none of
        for (data, wanted) in [
            (&b"the sea"[..], "[74, 68, 65, 20] is where a frame should begin"),
            (b"", "it ends too early"),
            (&packed[..packed.len() - 1], "it ends too early"),
            (&damaged, "a part of it is damaged"),
            (
                &wide,
                "it asks for a window of 2147483648 bytes, and the most is 134217728; pack it again without --long",
            ),
            (&with_dictionary, "it needs the dictionary 7; pack it again without one"),
        ] {
            let error = unpack("zstd", data).expect_err(wanted).to_string();
            assert_eq!(error, format!("not whole zstd data: {wanted}"));
        }
    }

    #[test]
    fn data_that_are_cut_short_or_damaged_are_an_error_that_names_the_format() {
        let text = text();
        let packed = [("gzip", gzip(&text)), ("zstd", compress_to_vec(&text[..], CompressionLevel::Fastest))];
        for (format, packed) in packed {
            for length in (0..packed.len()).step_by(packed.len() / 40) {
                let error = unpack(format, &packed[..length]).expect_err("it is cut short").to_string();
                assert!(length == 0 && format == "gzip" || error.starts_with("not whole "), "{error}");
            }
            for place in (0..packed.len()).step_by(packed.len() / 40) {
                let mut damaged = packed.clone();
                damaged[place] ^= 0x10;
                assert!(!unpack(format, &damaged).is_ok_and(|unpacked| unpacked != text), "{format} {place}");
            }
        }
    }
}

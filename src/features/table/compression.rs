//! Compressed text files, by the ending of their names.

use std::fs::File;
use std::io::{Read, Result, Write};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// The largest window of zstd that is read, as a power of two: what a file may make its reader hold.
const WINDOW: u32 = 27;

/// How a text file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// gzip, also of several members.
    Gzip,
    /// zstd.
    Zstd,
}

/// The endings, which follow the ending of the format.
const ENDINGS: [(&str, Compression); 3] = [
    ("gz", Compression::Gzip),
    ("zst", Compression::Zstd),
    ("zstd", Compression::Zstd),
];

impl Compression {
    /// The compression of a file by its ending; `None` if it has none.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let ending = ending(path)?;
        ENDINGS
            .iter()
            .find(|(known, _)| *known == ending)
            .map(|&(_, compression)| compression)
    }

    /// The compression of a file by its first bytes.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The ending of names, without the dot.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Self::Gzip => "gz",
            Self::Zstd => "zst",
        }
    }

    /// Reads what is compressed in a file.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(super) fn reader(self, file: File) -> Result<Box<dyn Read>> {
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(file)),
            Self::Zstd => {
                let mut reader = zstd::Decoder::new(file)?;
                reader.window_log_max(WINDOW)?;
                Box::new(reader)
            }
        })
    }

    /// Compresses what is written to `target`.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(crate) fn writer<'a, W: FinishWrite + Send + 'a>(
        self,
        target: W,
    ) -> Result<Box<dyn FinishWrite + Send + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(GzEncoder::new(target, flate2::Compression::default())),
            Self::Zstd => Box::new(zstd::Encoder::new(target, 0)?),
        })
    }
}

/// A writer with an end.
pub(crate) trait FinishWrite: Write {
    /// Writes the end.
    ///
    /// # Errors
    /// It cannot be written.
    fn finish(self: Box<Self>) -> Result<()>;
}

impl<W: Write> FinishWrite for std::io::BufWriter<W> {
    fn finish(mut self: Box<Self>) -> Result<()> {
        self.flush()
    }
}

impl<W: FinishWrite + ?Sized> FinishWrite for Box<W> {
    fn finish(self: Box<Self>) -> Result<()> {
        (*self).finish()
    }
}

impl<W: FinishWrite> FinishWrite for GzEncoder<W> {
    fn finish(self: Box<Self>) -> Result<()> {
        (*self).finish().and_then(|target| Box::new(target).finish())
    }
}

impl<W: FinishWrite> FinishWrite for zstd::Encoder<'_, W> {
    fn finish(self: Box<Self>) -> Result<()> {
        (*self).finish().and_then(|target| Box::new(target).finish())
    }
}

/// The last ending of a file's name, in small letters.
pub(super) fn ending(path: &Path) -> Option<String> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.map(str::to_ascii_lowercase)
}

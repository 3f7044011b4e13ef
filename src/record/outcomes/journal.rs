//! An append-only file of lines, each with its CRC-32. A line that a crash has left unfinished is cut off when the file is
//! opened; a line that does not match its checksum is skipped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use flate2::Crc;

/// Longest line, in bytes; a longer one is damaged.
const LINE_BYTES: u64 = 8 << 10;

/// Bytes that are read first of a line: most have fewer.
const FIRST_BYTES: usize = 512;

/// Nobody else may read the file: it names customers.
pub(super) const MODE: u32 = 0o600;

/// Hex digits of the checksum, and the blank after them.
const HEAD: usize = 9;

/// A file that lines are appended to.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    length: u64,
    /// Whether the file may have more bytes than that, from a write that failed.
    dirty: bool,
}

/// What was found in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReadReport {
    /// Whole lines with the right checksum.
    pub(super) lines: u64,
    /// Whole lines with a wrong one.
    pub(super) damaged: u64,
    /// Bytes after the last whole line.
    pub(super) torn: u64,
    /// Bytes of whole lines.
    length: u64,
}

/// Reads the lines of a file; `each` gets the text of those that match their checksum. A missing file is empty.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read(path: &Path, mut each: impl FnMut(&str)) -> io::Result<ReadReport> {
    read_places(path, |_, text| each(text))
}

/// Like [`read`]; `each` gets the place of the line in the file, too, for [`Journal::line`].
///
/// # Errors
/// The file cannot be read.
pub(super) fn read_places(path: &Path, mut each: impl FnMut(u64, &str)) -> io::Result<ReadReport> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ReadReport::default()),
        file => file?,
    };
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut report = ReadReport::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader).take(LINE_BYTES).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(report);
        }
        if line.pop() != Some(b'\n') {
            // Without an end: the last line is torn, or a line is too long and so damaged up to its end.
            if (read as u64) < LINE_BYTES {
                report.torn = read as u64;
                return Ok(report);
            }
            let rest = reader.skip_until(b'\n')? as u64;
            report.damaged += 1;
            report.length += read as u64 + rest;
            continue;
        }
        let place = report.length;
        report.length += read as u64;
        match content(&line) {
            Some(text) => {
                report.lines += 1;
                each(place, text);
            }
            None => report.damaged += 1,
        }
    }
}

/// The text of a line whose checksum is right.
fn content(line: &[u8]) -> Option<&str> {
    let (head, text) = line.split_at_checked(HEAD)?;
    let digits = std::str::from_utf8(head.strip_suffix(b" ")?).ok()?;
    let expected = u32::from_str_radix(digits, 16).ok()?;
    (checksum(text) == expected)
        .then(|| std::str::from_utf8(text).ok())
        .flatten()
}

fn checksum(text: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(text);
    crc.sum()
}

/// Adds a line with its checksum to `block`. `text` has no line breaks.
pub(super) fn add_line(block: &mut Vec<u8>, text: &[u8]) {
    block.extend_from_slice(format!("{:08x} ", checksum(text)).as_bytes());
    block.extend_from_slice(text);
    block.push(b'\n');
}

/// The text of the line at a place of a journal; `None` if it does not match its checksum.
///
/// # Errors
/// The file cannot be read.
pub(super) fn line_at(file: &File, place: u64) -> io::Result<Option<String>> {
    let mut bytes = vec![0; FIRST_BYTES];
    let mut read = file.read_at(&mut bytes, place)?;
    if !bytes.get(..read).unwrap_or_default().contains(&b'\n') && read == FIRST_BYTES {
        bytes.resize(usize::try_from(LINE_BYTES).unwrap_or(FIRST_BYTES), 0);
        read = file.read_at(&mut bytes, place)?;
    }
    bytes.truncate(read);
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    Ok(content(line).map(str::to_owned))
}

impl Journal {
    /// Opens a file after it was read: cuts off what is after its last whole line.
    ///
    /// # Errors
    /// The file cannot be created, opened or cut.
    pub(super) fn open(path: &Path, found: ReadReport) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .append(true)
            .read(true)
            .mode(MODE)
            .open(path)?;
        if file.metadata()?.len() > found.length {
            file.set_len(found.length)?;
            file.sync_data()?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            length: found.length,
            dirty: false,
        })
    }

    /// Appends whole lines, and waits until they are on the disk if `durable`. After an error the file is as before.
    ///
    /// # Errors
    /// The lines cannot be written, such as on a full disk.
    pub(super) fn append(&mut self, block: &[u8], durable: bool) -> io::Result<()> {
        if self.dirty {
            self.cut()?;
        }
        self.dirty = true;
        let written = self.file.write_all(block).and_then(|()| match durable {
            true => self.file.sync_data(),
            false => Ok(()),
        });
        if let Err(error) = written {
            // What failed to arrive as a whole must not be there in part. If this fails too, the next append tries again.
            let _ = self.cut();
            return Err(error);
        }
        self.length += block.len() as u64;
        self.dirty = false;
        Ok(())
    }

    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.dirty = false;
        Ok(())
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    /// The system cannot write it.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// The text of the line at a place; `None` if it does not match its checksum.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn line(&self, place: u64) -> io::Result<Option<String>> {
        line_at(&self.file, place)
    }

    /// Bytes of whole lines.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Replaces the file by one with the lines that `keep` wants. A crash leaves the old file or the new one.
    ///
    /// # Errors
    /// The new file cannot be written; the old one stays.
    pub(super) fn compact(&mut self, mut keep: impl FnMut(&str) -> bool) -> io::Result<()> {
        let part = self.path.with_extension("part");
        let mut options = OpenOptions::new();
        let new = options
            .create(true)
            .write(true)
            .truncate(true)
            .mode(MODE)
            .open(&part)?;
        let mut out = io::BufWriter::new(new);
        let mut failed = Ok(());
        let mut line = Vec::new();
        read(&self.path, |text| {
            if failed.is_ok() && keep(text) {
                line.clear();
                add_line(&mut line, text.as_bytes());
                failed = out.write_all(&line);
            }
        })?;
        failed?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let length = file.metadata()?.len();
        let report = ReadReport {
            length,
            ..ReadReport::default()
        };
        // Opened before it gets the name: once it has, nothing may fail, or further lines would go into the old file, which
        // nobody finds any more.
        let opened = Self::open(&part, report)?;
        std::fs::rename(&part, &self.path)?;
        let path = std::mem::take(&mut self.path);
        *self = Self { path, ..opened };
        // The name lasts through a loss of power; without it the old file is there, which is whole, too.
        let folder = self.path.parent().map(File::open);
        let _ = folder
            .transpose()
            .and_then(|folder| folder.map_or(Ok(()), |folder| folder.sync_all()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> (Vec<String>, ReadReport) {
        let mut found = Vec::new();
        let report = read(path, |text| found.push(text.to_owned())).unwrap();
        (found, report)
    }

    fn block(texts: &[&str]) -> Vec<u8> {
        let mut block = Vec::new();
        texts
            .iter()
            .for_each(|text| add_line(&mut block, text.as_bytes()));
        block
    }

    #[test]
    fn a_torn_line_is_cut_off_at_every_place_and_nothing_else_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.journal");
        let whole = block(&["{\"a\":1}", "{\"b\":2}"]);
        for end in 0..=whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let (found, report) = lines(&path);
            let first = block(&["{\"a\":1}"]).len();
            assert_eq!(
                found.len(),
                usize::from(end >= first) + usize::from(end == whole.len()),
                "{end}"
            );
            let mut journal = Journal::open(&path, report).unwrap();
            journal.append(&block(&["{\"c\":3}"]), true).unwrap();
            let (after, report) = lines(&path);
            assert_eq!(
                (after.len(), after.last().unwrap().as_str()),
                (found.len() + 1, "{\"c\":3}")
            );
            assert_eq!((report.damaged, report.torn), (0, 0));
        }
    }

    #[test]
    fn a_damaged_line_is_skipped_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.journal");
        let mut bytes = block(&["one", "two", "three"]);
        let place = block(&["one"]).len() + HEAD;
        bytes[place] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let (found, report) = lines(&path);
        assert_eq!(
            (found, report.damaged),
            (vec!["one".to_owned(), "three".to_owned()], 1)
        );
        let mut long = vec![b'x'; 3 * LINE_BYTES as usize];
        long.push(b'\n');
        long.extend(block(&["four"]));
        std::fs::write(&path, &long).unwrap();
        let (found, report) = lines(&path);
        assert_eq!((found, report.damaged), (vec!["four".to_owned()], 1));
    }

    #[test]
    fn compaction_keeps_what_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.journal");
        let mut journal = Journal::open(&path, ReadReport::default()).unwrap();
        journal.append(&block(&["1", "2", "3"]), true).unwrap();
        journal.compact(|text| text != "2").unwrap();
        journal.append(&block(&["4"]), true).unwrap();
        assert_eq!(lines(&path).0, ["1", "3", "4"]);
        assert_eq!(journal.length(), path.metadata().unwrap().len());
    }
}

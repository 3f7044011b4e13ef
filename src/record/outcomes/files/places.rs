//! An index of a journal of scores that gets no more lines: where the lines of each customer are. It is a file beside the
//! journal, made when a customer's scores are first asked for, and made anew if the journal is another one.
//!
//! Layout, all numbers little-endian: [`MAGIC`], the bytes of the journal as `u64`, then a pair of `u64` for each line, the
//! hash of the customer and the place of the line, in ascending order.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::super::journal;
use super::customer_hash;
use super::lines::score;

const MAGIC: [u8; 8] = *b"EGPLACE1";
const HEAD: u64 = 16;
const ENTRY: usize = 16;

/// Where a line of a customer is in a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The hash of the customer and the model.
    pub(super) customer: u64,
    /// The first byte of the line.
    pub(super) at: u64,
}

/// The file of the index of a journal.
pub(super) fn index_path(journal: &Path) -> PathBuf {
    journal.with_extension("index")
}

/// The places of a customer's lines in a journal; `None` if there is no index of this journal, see [`index`].
///
/// # Errors
/// A file cannot be read.
pub(super) fn places(journal: &Path, customer: u64) -> io::Result<Option<Vec<u64>>> {
    let length = std::fs::metadata(journal)?.len();
    let index = Index::open(&index_path(journal), length)?;
    index.map(|index| index.find(customer)).transpose()
}

/// Makes the index of a journal. Takes a second for each million lines, and 16 bytes of memory for each line.
///
/// # Errors
/// A file cannot be read or written.
pub(super) fn index(journal: &Path) -> io::Result<()> {
    let length = std::fs::metadata(journal)?.len();
    let mut all = Vec::new();
    journal::read_places(journal, |at, text| {
        if let Some(record) = score(text) {
            all.push(Place {
                customer: customer_hash(&record.model, &record.customer),
                at,
            });
        }
    })?;
    write(journal, length, &mut all)
}

/// Writes the index of a journal of `length` bytes. A crash leaves the old index or the new one.
fn write(journal: &Path, length: u64, places: &mut [Place]) -> io::Result<()> {
    places.sort_unstable();
    let part = journal.with_extension("index-part");
    let mut options = OpenOptions::new();
    let file = options
        .create(true)
        .write(true)
        .truncate(true)
        .mode(journal::MODE);
    let mut out = BufWriter::new(file.open(&part)?);
    out.write_all(&MAGIC)?;
    out.write_all(&length.to_le_bytes())?;
    for place in places {
        out.write_all(&place.customer.to_le_bytes())?;
        out.write_all(&place.at.to_le_bytes())?;
    }
    out.into_inner()?.sync_all()?;
    std::fs::rename(&part, index_path(journal))
}

struct Index {
    file: File,
    entries: u64,
}

impl Index {
    /// Opens the index of a journal of `length` bytes; `None` if there is none, or it is of another length.
    fn open(path: &Path, length: u64) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let bytes = file.metadata()?.len();
        let mut head = [0; 16];
        if bytes < HEAD || !(bytes - HEAD).is_multiple_of(ENTRY as u64) {
            return Ok(None);
        }
        file.read_exact_at(&mut head, 0)?;
        let right = head.starts_with(&MAGIC) && head.ends_with(&length.to_le_bytes());
        Ok(right.then_some(Self {
            file,
            entries: (bytes - HEAD) / ENTRY as u64,
        }))
    }

    fn entry(&self, number: u64) -> io::Result<Place> {
        let mut halves = [[0; 8]; 2];
        self.file
            .read_exact_at(halves.as_flattened_mut(), HEAD + number * ENTRY as u64)?;
        let [customer, at] = halves.map(u64::from_le_bytes);
        Ok(Place { customer, at })
    }

    fn find(&self, customer: u64) -> io::Result<Vec<u64>> {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low.midpoint(high);
            match self.entry(middle)?.customer < customer {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        let mut found = Vec::new();
        while low < self.entries {
            let place = self.entry(low)?;
            if place.customer != customer {
                break;
            }
            found.push(place.at);
            low += 1;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::score_line;
    use super::*;
    use crate::record::outcomes::ScoreRecord;

    #[test]
    fn the_index_finds_what_a_scan_finds_and_is_of_one_journal() {
        let places = |path: &Path, customer| {
            if places(path, customer).unwrap().is_none() {
                index(path).unwrap();
            }
            places(path, customer).unwrap().unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores-1.journal");
        let mut block = Vec::new();
        let mut starts = Vec::new();
        for number in 0..1000 {
            starts.push(block.len() as u64);
            let record = ScoreRecord {
                model: "churn".to_owned(),
                version: 1,
                customer: format!("C-{}", number % 300),
                at: number,
                score: 0.5,
                hold_out: false,
            };
            journal::add_line(&mut block, &score_line(&record));
        }
        std::fs::write(&path, &block).unwrap();
        for _ in 0..2 {
            for customer in [0, 1, 99, 100, 299] {
                let hash = customer_hash("churn", &format!("C-{customer}"));
                let expected: Vec<u64> = starts.iter().copied().skip(customer).step_by(300).collect();
                assert_eq!(places(&path, hash), expected);
            }
            assert!(places(&path, customer_hash("other", "C-1")).is_empty());
        }
        // A longer journal, an index that is torn, and one of something else.
        journal::add_line(&mut block, b"{}");
        std::fs::write(&path, &block).unwrap();
        let hash = customer_hash("churn", "C-7");
        for wrong in [&b"EGPLACE1"[..], b"", b"nothing at all of that kind here"] {
            assert_eq!(places(&path, hash).len(), 4);
            std::fs::write(index_path(&path), wrong).unwrap();
        }
        assert_eq!(places(&path, hash).len(), 4);
    }
}

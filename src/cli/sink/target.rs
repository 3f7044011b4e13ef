//! Where an output goes: a file under a temporary name, or standard output.

use std::fs::File;
use std::io::{BufWriter, Result as IoResult, Write};
use std::path::{Path, PathBuf};

use crate::features::table::{Compression, FinishWrite};
use crate::storage::Temporary;

/// A destination of bytes.
pub(in crate::cli) struct Target {
    writer: Option<Box<dyn FinishWrite + Send>>,
    file: Option<PartialFile>,
    name: PathBuf,
}

/// A file that is not complete yet; removed unless it gets its final name.
struct PartialFile {
    file: File,
    temporary: Temporary,
    path: PathBuf,
}

impl Target {
    /// A file that gets its name when it is complete; until then it is at `temporary`, in the same folder.
    ///
    /// # Errors
    /// It cannot be created.
    pub(in crate::cli) fn file(path: &Path, temporary: PathBuf) -> Result<Self, String> {
        let fail = |error: std::io::Error| format!("{}: {error}", path.display());
        let (temporary, file) = Temporary::file(temporary).map_err(fail)?;
        let copy = file.try_clone().map_err(fail)?;
        Ok(Self {
            writer: Some(Box::new(BufWriter::with_capacity(1 << 16, copy))),
            file: Some(PartialFile {
                file,
                temporary,
                path: path.to_owned(),
            }),
            name: path.to_owned(),
        })
    }

    /// A file that gets its name when it is complete.
    ///
    /// # Errors
    /// It cannot be created.
    pub(in crate::cli) fn at(path: &Path) -> Result<Self, String> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        Self::file(
            path,
            path.with_file_name(format!(".{name}.{}.part", std::process::id())),
        )
    }

    /// Standard output.
    pub(in crate::cli) fn stdout() -> Self {
        Self {
            writer: Some(Box::new(BufWriter::with_capacity(1 << 16, std::io::stdout()))),
            file: None,
            name: PathBuf::from("standard output"),
        }
    }

    /// The message of an error, with the name.
    pub(in crate::cli) fn fail(&self, error: &dyn std::fmt::Display) -> String {
        format!("{}: {error}", self.name.display())
    }

    /// The same, with what is written compressed.
    pub(super) fn compressed(mut self, compression: Option<Compression>) -> Result<Self, String> {
        if let (Some(compression), Some(writer)) =
            (compression, self.writer.take_if(|_| compression.is_some()))
        {
            let compressed = compression.writer(writer).map_err(|error| self.fail(&error))?;
            self.writer = Some(compressed);
        }
        Ok(self)
    }

    /// Writes what is buffered, keeps it through a loss of power, and gives the file its name.
    pub(in crate::cli) fn finish(mut self) -> Result<(), String> {
        let ended = self.writer.take().map_or(Ok(()), FinishWrite::finish);
        ended.map_err(|error| self.fail(&error))?;
        let Some(partial) = &self.file else { return Ok(()) };
        let named = partial
            .file
            .sync_all()
            .and_then(|()| std::fs::rename(partial.temporary.path(), &partial.path));
        named.map_err(|error| self.fail(&error))
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> IoResult<usize> {
        match &mut self.writer {
            Some(writer) => writer.write(bytes),
            None => Err(std::io::Error::other("the file is finished")),
        }
    }

    fn flush(&mut self) -> IoResult<()> {
        self.writer.as_mut().map_or(Ok(()), |writer| writer.flush())
    }
}

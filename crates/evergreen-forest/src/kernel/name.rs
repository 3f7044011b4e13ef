//! The kernels by name.

use std::fmt;
use std::str::FromStr;

/// A way of walking trees. All give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KernelName {
    /// One row, one tree, one split at a time: any model on any machine; the reference for the others.
    Scalar,
    /// Numbers as they are, eight trees abreast without branches: any machine.
    Direct,
    /// Ranks in place of numbers, thirty-two trees to an instruction: x86-64 with AVX2.
    Avx2,
    /// A bit for each row, sixty-four rows and more to an instruction: any machine; not for single rows.
    Sliced,
}

impl KernelName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Direct, Self::Avx2, Self::Sliced];

    /// Those that walk single rows.
    pub(crate) const WALKS: [Self; 3] = [Self::Scalar, Self::Direct, Self::Avx2];

    /// Whether this machine can run it.
    pub fn available(self) -> bool {
        match self {
            Self::Scalar | Self::Direct | Self::Sliced => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => super::avx2::available(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 => false,
        }
    }
}

impl fmt::Display for KernelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Direct => "direct",
            Self::Avx2 => "avx2",
            Self::Sliced => "sliced",
        })
    }
}

/// How a model's trees are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels {
    /// For a row or a few.
    pub few: KernelName,
    /// From so many rows on, this.
    pub many: Option<(usize, KernelName)>,
}

impl fmt::Display for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.few)?;
        match self.many {
            Some((rows, many)) => write!(f, ", {many} from {rows} rows"),
            None => Ok(()),
        }
    }
}

impl FromStr for KernelName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kernel| kernel.to_string() == name)
            .ok_or_else(|| format!("no such kernel: {name} (there are scalar, direct, avx2 and sliced)"))
    }
}

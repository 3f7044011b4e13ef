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
    Binned,
    /// A bit for each row, sixty-four rows and more to an instruction: any machine; not for single rows.
    BitSliced,
}

impl KernelName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Direct, Self::Binned, Self::BitSliced];

    /// Those that walk single rows.
    pub(crate) const WALKS: [Self; 3] = [Self::Scalar, Self::Direct, Self::Binned];

    /// Whether this machine can run it.
    pub fn available(self) -> bool {
        match self {
            Self::Scalar | Self::Direct | Self::BitSliced => true,
            #[cfg(target_arch = "x86_64")]
            Self::Binned => crate::kernel::isa::avx2::available(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Binned => false,
        }
    }
}

impl fmt::Display for KernelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Direct => "direct",
            Self::Binned => "binned",
            Self::BitSliced => "bit-sliced",
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

    /// Parses a kernel's name. `avx2` and `sliced`, the names of earlier releases, mean `binned` and `bit-sliced`.
    ///
    /// # Errors
    /// An unknown name; the message lists the known ones.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "scalar" => Ok(Self::Scalar),
            "direct" => Ok(Self::Direct),
            "binned" | "avx2" => Ok(Self::Binned),
            "bit-sliced" | "sliced" => Ok(Self::BitSliced),
            _ => Err(format!(
                "unknown kernel {name:?}; expected scalar, direct, binned or bit-sliced"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_displays() {
        for kernel in KernelName::ALL {
            assert_eq!(kernel.to_string().parse(), Ok(kernel));
        }
    }

    #[test]
    fn parses_the_names_of_earlier_releases() {
        assert_eq!("avx2".parse(), Ok(KernelName::Binned));
        assert_eq!("sliced".parse(), Ok(KernelName::BitSliced));
    }

    #[test]
    fn lists_the_known_names() {
        let error = KernelName::from_str("fast").unwrap_err();
        assert_eq!(
            error,
            "unknown kernel \"fast\"; expected scalar, direct, binned or bit-sliced"
        );
    }

    #[test]
    fn displays_the_kernel_for_many_rows() {
        let kernels = Kernels {
            few: KernelName::Binned,
            many: Some((54, KernelName::BitSliced)),
        };
        assert_eq!(kernels.to_string(), "binned, bit-sliced from 54 rows");
    }
}

//! The names of the kernels.

use std::fmt;
use std::str::FromStr;

/// A kernel: an algorithm that evaluates trees. All kernels give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KernelName {
    /// One row, one tree, one split at a time. Takes every model on every CPU; the reference for the others.
    Scalar,
    /// Compares ordered keys, eight trees at a time, without branches. Runs on every CPU.
    Direct,
    /// Compares bins of one byte, 32 trees per instruction. Needs x86-64 with AVX2, BMI and POPCNT.
    Binned,
    /// One bit per row, 64 rows or more per instruction. Runs on every CPU; slow for single rows.
    BitSliced,
}

impl KernelName {
    /// Every kernel.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Direct, Self::Binned, Self::BitSliced];

    /// The kernels for single rows.
    pub(crate) const ROW_KERNELS: [Self; 3] = [Self::Scalar, Self::Direct, Self::Binned];

    /// Returns whether this CPU can run the kernel.
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

/// The kernels that a model uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels {
    /// The kernel for one row or a few.
    pub few: KernelName,
    /// The fewest rows that another kernel takes, and that kernel.
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

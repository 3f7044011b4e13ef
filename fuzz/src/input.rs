//! Reads an input as a sequence of choices. An input that has ended reads as zeros.

use evergreen_forest::fuzzing::RandomSource;

/// The rest of an input.
#[derive(Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// The next `N` bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_at(N.min(self.0.len()));
        self.0 = rest;
        std::array::from_fn(|at| head.get(at).copied().unwrap_or(0))
    }

    /// A number below `end`, which is at most 2³²: of one byte, two or four. A choice of one takes none.
    pub fn below(&mut self, end: usize) -> usize {
        let number = match end {
            0 | 1 => 0,
            2..=0x100 => u32::from_le_bytes([self.bytes::<1>()[0], 0, 0, 0]),
            0x101..=0x1_0000 => u32::from(u16::from_le_bytes(self.bytes())),
            _ => u32::from_le_bytes(self.bytes()),
        };
        number as usize % end.max(1)
    }

    /// The rest in chunks whose sizes are choices, too.
    pub fn chunks(&mut self) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        while !self.0.is_empty() {
            let size = self.below(64).min(self.0.len());
            let (chunk, rest) = self.0.split_at(size);
            chunks.push(chunk.to_vec());
            self.0 = rest;
        }
        chunks
    }
}

/// Choices without an end: after those of an input come random ones that depend on it.
#[derive(Debug)]
pub struct Endless<'a> {
    input: Input<'a>,
    rest: RandomSource,
}

impl<'a> Endless<'a> {
    /// The choices of an input.
    pub fn new(bytes: &'a [u8]) -> Self {
        // FNV-1a.
        let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self {
            input: Input(bytes),
            rest: RandomSource(bytes.iter().fold(0xcbf2_9ce4_8422_2325, hash)),
        }
    }

    /// A number below `end`, which is at most 2³².
    pub fn below(&mut self, end: usize) -> usize {
        if self.input.0.is_empty() {
            self.rest.below(end)
        } else {
            self.input.below(end)
        }
    }
}

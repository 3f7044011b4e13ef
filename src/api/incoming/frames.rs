//! What the parts of a body are made of: the frames of gRPC, and how large the parts are.

/// Parts that a body may have, whatever their size. A part is a chunk of HTTP/1.1 or a DATA frame of HTTP/2; each costs
/// far more work than its bytes.
const FREE_PARTS: usize = 4096;

/// Bytes that the parts beyond [`FREE_PARTS`] must have on average. A line of its own per part is longer.
pub(super) const LEAST_PART: usize = 4;

/// Follows the frames of gRPC: five bytes, the last four of which are the length of the message after them. The decoder
/// reserves that length as soon as it is announced.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; 5],
    have: usize,
    rest: usize,
    /// Bytes of compressed messages that were announced.
    pub(super) packed: usize,
}

impl Frames {
    /// Returns the bytes that the frames announce whose header is complete with `bytes`, each at most `limit`.
    pub(super) fn announced(&mut self, mut bytes: &[u8], limit: usize) -> usize {
        let mut announced = 0;
        while !bytes.is_empty() {
            let skipped = self.rest.min(bytes.len());
            self.rest -= skipped;
            bytes = &bytes[skipped..];
            let (part, after) = bytes.split_at((self.header.len() - self.have).min(bytes.len()));
            self.header[self.have..self.have + part.len()].copy_from_slice(part);
            self.have += part.len();
            bytes = after;
            if self.have == self.header.len() {
                let [compressed, a, b, c, d] = self.header;
                self.rest = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                self.have = 0;
                announced += self.rest.min(limit);
                self.packed += self.rest.min(limit) * usize::from(compressed.min(1));
            }
        }
        announced
    }
}

/// The parts of a body that have arrived.
#[derive(Debug, Default)]
pub(super) struct Parts {
    count: usize,
    /// Their bytes.
    pub(super) bytes: usize,
}

impl Parts {
    /// Adds a part; returns whether the body may go on.
    pub(super) fn add(&mut self, bytes: usize) -> bool {
        self.count += 1;
        self.bytes += bytes;
        self.count <= FREE_PARTS || self.bytes / self.count >= LEAST_PART
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_when_they_are_announced() {
        let mut bytes = vec![0, 0, 0, 0, 3, 7, 7, 7];
        bytes.extend([1, 0, 1, 0, 0]);
        bytes.extend(vec![9; 65_536]);
        bytes.extend([0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
        let whole = Frames::default().announced(&bytes, 1 << 20);
        assert_eq!(whole, 3 + 65_536 + (1 << 20));
        let mut packed = Frames::default();
        packed.announced(&bytes, 1 << 20);
        assert_eq!(packed.packed, 65_536, "the second message");
        let mut single = Frames::default();
        let parts: usize = bytes.iter().map(|byte| single.announced(&[*byte], 1 << 20)).sum();
        assert_eq!(parts, whole);
        let mut started = Frames::default();
        assert_eq!(started.announced(&bytes[..4], 100), 0);
        assert_eq!(started.announced(&bytes[4..6], 100), 3);
    }

    #[test]
    fn tiny_parts_end_a_body_after_some_thousands() {
        let mut tiny = Parts::default();
        assert_eq!((0..10_000).take_while(|_| tiny.add(1)).count(), FREE_PARTS);
        let mut lines = Parts::default();
        assert!((0..100_000).all(|number| lines.add(if number % 2 == 0 { 11 } else { 1 })));
    }
}

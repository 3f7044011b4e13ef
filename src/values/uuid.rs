//! UUIDs of stores and files.

/// A UUID as text, such as `67e55044-10b1-426f-9247-bb680e5fe0c8` (RFC 9562).
pub(crate) fn text(bytes: [u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
    parts.map(|(start, end)| &digits[start..end]).join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_written_in_five_groups() {
        let bytes = 0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8u128.to_be_bytes();
        assert_eq!(text(bytes), "67e55044-10b1-426f-9247-bb680e5fe0c8");
        assert_eq!(text([0; 16]), "00000000-0000-0000-0000-000000000000");
    }
}

//! Fields of a tar header block: numbers, names and the checksum.
//!
//! The layout comes from the `tar` crate; numbers are ours, as negative times, base-256 and the
//! padding habits of old archivers need more than it offers.

use tar::Header;

use super::BLOCK;

/// A number that does not follow the format, or does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadNumber;

/// Writes `value` as octal digits with a NUL at the end; false when it does not fit.
pub(super) fn put_octal(field: &mut [u8], value: u64) -> bool {
    let digits = field.len() - 1;
    if value >> (3 * digits) != 0 {
        return false;
    }
    for (at, byte) in field[..digits].iter_mut().rev().enumerate() {
        *byte = b'0' + u8::try_from(value >> (3 * at) & 7).expect("three bits fit a byte");
    }
    field[digits] = 0;
    true
}

/// Reads a number: octal digits with leading blanks up to a blank or NUL, or base-256
/// (GNU tar manual, "Basic Tar Format": the first byte's high bit is set).
pub(super) fn number(field: &[u8]) -> Result<i64, BadNumber> {
    if field.first().is_some_and(|&byte| byte & 0x80 != 0) {
        return base_256(field);
    }
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let digits: Vec<u8> =
        field.iter().copied().skip_while(blank).take_while(|byte| !blank(byte)).collect();
    digits.iter().try_fold(0_i64, |value, &digit| {
        let digit = (b'0'..=b'7').contains(&digit).then(|| i64::from(digit - b'0'));
        value.checked_mul(8).and_then(|value| value.checked_add(digit?)).ok_or(BadNumber)
    })
}

fn base_256(field: &[u8]) -> Result<i64, BadNumber> {
    let negative = field[0] & 0x40 != 0;
    let first = if negative { field[0] } else { field[0] & 0x7f };
    let start = if negative { -1 } else { 0 };
    std::iter::once(first).chain(field[1..].iter().copied()).try_fold(start, |value: i64, byte| {
        // Sign extension makes the leading bytes of a negative number all ones: -1 * 256 + 255.
        value.checked_mul(256).and_then(|value| value.checked_add(i64::from(byte))).ok_or(BadNumber)
    })
}

/// The bytes of a text field up to the first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or(field)
}

/// Whether the checksum fits, added up from unsigned or (old archivers) signed bytes.
pub(super) fn checksum_fits(block: &[u8; BLOCK]) -> bool {
    let Ok(stored) = number(&Header::from_byte_slice(block).as_old().cksum) else {
        return false;
    };
    let counted = |at: usize| if (148..156).contains(&at) { b' ' } else { block[at] };
    let unsigned: i64 = (0..BLOCK).map(|at| i64::from(counted(at))).sum();
    let signed: i64 = (0..BLOCK).map(|at| i64::from(counted(at).cast_signed())).sum();
    stored == unsigned || stored == signed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_archivers_write_them() {
        for (field, expected) in [
            (b"0000644\0".as_slice(), Ok(0o644)),
            (b"   644 \0", Ok(0o644)),
            (b"\0\0\0\0\0\0\0\0", Ok(0)),
            (b"77777777777\0", Ok(0o77_777_777_777)),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\x02", Ok(258)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Ok(-2)),
            (b"\x80\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff", Err(BadNumber)),
            (b"0000648\0", Err(BadNumber)),
            (b"-1\0", Err(BadNumber)),
        ] {
            assert_eq!(number(field), expected, "{field:?}");
        }
    }

    #[test]
    fn octal_that_does_not_fit_is_refused() {
        let mut field = [0; 8];
        assert!(put_octal(&mut field, 0o7_777_777));
        assert_eq!(&field, b"7777777\0");
        assert!(!put_octal(&mut field, 0o10_000_000));
        assert!(put_octal(&mut field, 8));
        assert_eq!(&field, b"0000010\0");
    }
}

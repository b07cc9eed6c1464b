//! Bytes as hexadecimal digits, without allocating: a verifier reads millions of them.
//!
//! In scope: lower-case digits. Upper-case ones are refused, so that there is one way to write.

const DIGITS: &[u8; 16] = b"0123456789abcdef";
const INVALID: u8 = 0xff;

/// The value of every byte as a digit.
const VALUES: [u8; 256] = {
    let mut values = [INVALID; 256];
    let mut value = 0u8;
    let mut rest: &[u8] = DIGITS;
    while let [digit, tail @ ..] = rest {
        let (_, from) = values.split_at_mut(*digit as usize);
        if let [place, ..] = from {
            *place = value;
        }
        value += 1;
        rest = tail;
    }
    values
};

/// Writes two digits for each byte, as far as there is room.
pub fn write(bytes: &[u8], room: &mut [u8]) {
    let digit = |value: u8| {
        DIGITS
            .get(usize::from(value & 15))
            .copied()
            .unwrap_or_default()
    };
    for ([high, low], byte) in room.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        (*high, *low) = (digit(*byte >> 4), digit(*byte));
    }
}

/// The bytes of twice `N` digits; `None` for any other text.
#[must_use]
pub fn parse<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let value = |digit: u8| VALUES.get(usize::from(digit)).copied().unwrap_or(INVALID);
    let (pairs, rest) = text.as_chunks::<2>();
    let mut bytes = [0; N];
    let mut seen = 0;
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (value(*high), value(*low));
        seen |= high | low;
        *byte = high << 4 | low & 15;
    }
    (seen <= 15 && pairs.len() == N && rest.is_empty()).then_some(bytes)
}

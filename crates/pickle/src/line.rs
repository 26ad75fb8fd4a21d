//! Literals of protocol 0, which stand in a line of their own.

use crate::arena::Value;

/// `I`: a whole number, or a truth value with two digits.
pub(crate) fn int<M>(line: &[u8]) -> Option<Value<M>> {
    match line {
        b"00" => Some(Value::Bool(false)),
        b"01" => Some(Value::Bool(true)),
        _ => long(line),
    }
}

/// `L`: a whole number, of Python 2 with an `L` behind it.
pub(crate) fn long<M>(line: &[u8]) -> Option<Value<M>> {
    let line = line.strip_suffix(b"L").unwrap_or(line);
    let digits = line.strip_prefix(b"-").unwrap_or(line);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(line).ok()?.parse();
    Some(number.map_or(Value::Opaque, Value::Int))
}

/// `F`: what `repr` writes for a float.
pub(crate) fn float<M>(line: &[u8]) -> Option<Value<M>> {
    let text = std::str::from_utf8(line).ok()?;
    text.parse().ok().map(Value::Float)
}

/// A number of the memo.
pub(crate) fn number(line: &[u8]) -> Option<u64> {
    std::str::from_utf8(line).ok()?.parse().ok()
}

/// `S`: what `repr` of Python 2 writes for a string.
pub(crate) fn string(line: &[u8]) -> Option<Vec<u8>> {
    let ([b'\'', quoted @ .., b'\''] | [b'"', quoted @ .., b'"']) = line else {
        return None;
    };
    let mut out = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let (&kind, after) = rest.split_first()?;
        rest = after;
        let plain = match kind {
            b'\\' | b'\'' | b'"' => kind,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 0x07,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'v' => 0x0b,
            b'x' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                hex(digits)? as u8
            }
            b'0'..=b'7' => {
                let more = rest
                    .iter()
                    .take(2)
                    .take_while(|b| (b'0'..=b'7').contains(b));
                let count = more.count();
                let digits = &rest[..count];
                rest = &rest[count..];
                let first = u32::from(kind - b'0');
                digits
                    .iter()
                    .fold(first, |n, b| n * 8 + u32::from(b - b'0')) as u8
            }
            _ => {
                out.push(b'\\');
                kind
            }
        };
        out.push(plain);
    }
    Some(out)
}

/// `V`: Latin-1, other characters as `\uXXXX` or `\UXXXXXXXX`; as UTF-8. A pair of surrogates, as narrow builds of
/// Python 2 write one, becomes the character that it stands for; a lone one becomes three bytes that are not UTF-8.
pub(crate) fn unicode(line: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    let mut high = None;
    while let [first, after @ ..] = rest {
        rest = after;
        let digits = match (first, rest) {
            (b'\\', [b'u', ..]) => 4,
            (b'\\', [b'U', ..]) => 8,
            (b'\\', [b'\\', after @ ..]) => {
                // Two backslashes are two backslashes.
                rest = after;
                lone(&mut out, high.take());
                out.extend(b"\\\\");
                continue;
            }
            _ => 0,
        };
        let code = if digits == 0 {
            u32::from(*first)
        } else {
            let (code, after) = rest[1..].split_at_checked(digits)?;
            rest = after;
            hex(code)?
        };
        match (high.take(), code) {
            (Some(high), 0xdc00..=0xdfff) => {
                push(
                    &mut out,
                    0x1_0000 + ((high - 0xd800) << 10) + (code - 0xdc00),
                )?;
            }
            (before, code) => {
                lone(&mut out, before);
                if (0xd800..=0xdbff).contains(&code) {
                    high = Some(code);
                } else {
                    push(&mut out, code)?;
                }
            }
        }
    }
    lone(&mut out, high);
    Some(out)
}

/// Adds a surrogate that has no partner.
fn lone(out: &mut Vec<u8>, surrogate: Option<u32>) {
    if let Some(code) = surrogate {
        let six = |shift: u32| 0x80 | ((code >> shift) & 0x3f) as u8;
        out.extend([0xe0 | (code >> 12) as u8, six(6), six(0)]);
    }
}

fn push(out: &mut Vec<u8>, code: u32) -> Option<()> {
    match char::from_u32(code) {
        Some(c) => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        None if code <= 0xffff => lone(out, Some(code)),
        None => return None,
    }
    Some(())
}

fn hex(digits: &[u8]) -> Option<u32> {
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_python_2_are_unescaped() {
        let read = |line: &[u8]| string(line);
        assert_eq!(read(b"'a b'").unwrap(), b"a b");
        assert_eq!(read(br#""it's""#).unwrap(), b"it's");
        assert_eq!(
            read(br"'\x00\xff\n\t\\\'\101\0'").unwrap(),
            b"\x00\xff\n\t\\'A\0"
        );
        assert_eq!(read(br"'\q'").unwrap(), br"\q");
        for broken in [
            &b""[..],
            b"'",
            b"'a\"",
            b"a",
            br"'\'",
            br"'\x0'",
            br"'\xg0'",
        ] {
            assert_eq!(read(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn texts_are_unescaped_to_utf_8() {
        let read = |line: &[u8]| unicode(line).map(|bytes| String::from_utf8(bytes).ok());
        let text = |text: &str| Some(Some(text.to_owned()));
        assert_eq!(read(b"caf\xe9 \\u20ac"), text("café €"));
        assert_eq!(read(br"\u005cn \U0001f415"), text("\\n 🐕"));
        assert_eq!(read(br"\ud83d\udc15!"), text("🐕!"));
        assert_eq!(read(br"\\u0041\x"), text(r"\\u0041\x"));
        // A lone surrogate is kept, and is not UTF-8.
        assert_eq!(read(br"a\ud83d"), Some(None));
        assert_eq!(read(br"\udc15"), Some(None));
        assert_eq!(read(br"\u12"), None);
        assert_eq!(read(br"\U00110000"), None);
    }

    #[test]
    fn numbers_are_those_of_python() {
        assert_eq!(int::<()>(b"01"), Some(Value::Bool(true)));
        assert_eq!(int::<()>(b"1"), Some(Value::Int(1)));
        assert_eq!(long::<()>(b"-12L"), Some(Value::Int(-12)));
        assert_eq!(long::<()>(b"99999999999999999999L"), Some(Value::Opaque));
        assert_eq!(float::<()>(b"1e+16"), Some(Value::Float(1e16)));
        assert_eq!(float::<()>(b"-inf"), Some(Value::Float(f64::NEG_INFINITY)));
        for broken in [&b""[..], b"-", b"1x", b"+-1", b"L"] {
            assert_eq!(long::<()>(broken), None);
        }
        assert_eq!(float::<()>(b"x"), None);
    }
}

//! The machine with a meaning that knows one name of everything.

use super::*;
use crate::meaning::Plain;

/// What the test's reader makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    Pair,
    Object,
    Id,
}

/// Knows `m.pair`, as function and as class, and any persistent id.
#[derive(Default)]
struct Lenient {
    states: usize,
    opcodes: Vec<(&'static str, usize)>,
}

impl Meaning for Lenient {
    type Made = Made;
    const FOREIGN: Foreign = Foreign::Opaque;
    const OPCODE_LIMIT: usize = 1 << 20;

    fn name(&mut self, arena: &Arena<'_, Made>, name: Name) -> Option<Made> {
        (name.display(arena) == "m.pair").then_some(Made::Pair)
    }

    fn call(
        &mut self,
        arena: &mut Arena<'_, Made>,
        call: Call<Made>,
    ) -> Result<Option<Value<Made>>, Reason> {
        self.opcodes.push((call.opcode, call.offset));
        Ok(match (call.how, arena.tuple(call.arguments)) {
            (How::Function, Some(&[_, second])) => Some(second),
            (How::Class, Some(_)) => Some(Value::Made(Made::Object)),
            _ => None,
        })
    }

    fn build(
        &mut self,
        _: &mut Arena<'_, Made>,
        _: Made,
        _: Value<Made>,
    ) -> Result<Option<()>, Reason> {
        self.states += 1;
        Ok(Some(()))
    }

    fn persistent(&mut self, _: &mut Arena<'_, Made>, _: Value<Made>) -> Option<Value<Made>> {
        Some(Value::Made(Made::Id))
    }
}

fn plain(bytes: &[u8]) -> Built<'_, ()> {
    read(bytes, &mut Plain).unwrap()
}

fn refused(bytes: &[u8]) -> String {
    read(bytes, &mut Plain).unwrap_err().to_string()
}

fn lenient(bytes: &[u8]) -> Value<Made> {
    read(bytes, &mut Lenient::default()).unwrap().root
}

/// A value as Python writes it, for as far as these tests go.
fn shown<M: Copy + std::fmt::Debug>(arena: &Arena<'_, M>, value: Value<M>) -> String {
    let all = |items: &[Value<M>]| {
        let items: Vec<String> = items.iter().map(|item| shown(arena, *item)).collect();
        items.join(", ")
    };
    match value {
        Value::None => "None".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::Text(_) | Value::OldString(_) => format!("{:?}", arena.text(value).unwrap()),
        Value::Bytes(_) => format!("b{:?}", arena.raw(value).unwrap()),
        Value::Tuple(_) => format!("({})", all(arena.tuple(value).unwrap())),
        Value::List(_) => format!("[{}]", all(arena.list(value).unwrap())),
        Value::Dict(_) => {
            let pairs = arena.entries(value).unwrap();
            let pairs =
                pairs.map(|(key, value)| format!("{}: {}", shown(arena, key), shown(arena, value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn every_protocol_says_the_same() {
    // {'a': (1, -2, 2.5, None), 'é': [True, (), 'x', 300, 70000]} in protocols 0 and 1 as Python 2 writes it, and in
    // protocol 4 with b'\xff\0' for 'x'.
    let expected = |bytes: &str| {
        format!("{{\"a\": (1, -2, 2.5, None), \"é\": [true, (), {bytes}, 300, 70000]}}")
    };
    let zero = b"(dp0\nS'a'\np1\n(I1\nI-2\nF2.5\nNtp2\nsV\xe9\np3\n(lp4\nI01\na(taS'x'\np5\naI300\naI70000\nas.";
    let one = b"}q\0(U\x01aq\x01(K\x01J\xfe\xff\xff\xffG@\x04\0\0\0\0\0\0Ntq\x02X\x02\0\0\0\xc3\xa9q\x03]q\x04(I01\n)U\x01xq\x05M,\x01Jp\x11\x01\0eu.";
    let four = b"\x80\x04\x955\0\0\0\0\0\0\0}\x94(\x8c\x01a\x94(K\x01J\xfe\xff\xff\xffG@\x04\0\0\0\0\0\0Nt\x94\x8c\x02\xc3\xa9\x94]\x94(\x88)C\x02\xff\0\x94M,\x01Jp\x11\x01\0eu.";
    for (bytes, third) in [(&zero[..], "\"x\""), (one, "\"x\""), (four, "b[255, 0]")] {
        let built = plain(bytes);
        assert_eq!(shown(&built.arena, built.root), expected(third));
        assert_eq!(built.len_bytes, bytes.len());
    }
}

#[test]
fn numbers_keep_their_sign() {
    for (bytes, value) in [
        (&b"J\xff\xff\xff\xff."[..], Value::Int(-1)),
        (b"\x8a\x01\xfe.", Value::Int(-2)),
        (b"\x8a\x02\x00\x01.", Value::Int(256)),
        (b"\x8a\x00.", Value::Int(0)),
        (b"\x8b\x02\0\0\0\x00\x80.", Value::Int(-0x8000)),
        (b"M\x00\x80.", Value::Int(0x8000)),
        (b"\x8a\x09123456789.", Value::Opaque),
        (b"L-3L\n.", Value::Int(-3)),
    ] {
        assert_eq!(plain(bytes).root, value, "{bytes:?}");
    }
}

#[test]
fn the_memo_of_every_form_gives_back_what_it_got() {
    // A list that is memoised first and filled afterwards, seen in every way that there is to see it.
    for bytes in [
        &b"]q\x00(K\x01K\x02eh\x00\x86."[..],
        b"]r\x00\x01\x00\x00(K\x01K\x02ej\x00\x01\x00\x00\x86.",
        b"]p77\n(K\x01K\x02eg77\n\x86.",
        b"]\x94(K\x01K\x02eh\x00\x86.",
        b"](K\x01K\x02e2\x86.",
    ] {
        let built = plain(bytes);
        assert_eq!(shown(&built.arena, built.root), "([1, 2], [1, 2])");
        let &[a, b] = built.arena.tuple(built.root).unwrap() else {
            panic!()
        };
        assert_eq!(a, b, "{bytes:?}");
    }
}

#[test]
fn what_is_not_known_is_refused_with_its_opcode_or_name() {
    for (bytes, message) in [
        (&b"cos\nsystem\n."[..], "it names `os.system` at byte 0"),
        (
            b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",
            "it names `posix.system` at byte 17",
        ),
        (
            b"(ios\nsystem\n.",
            "the opcode INST, which is not plain data, at byte 1",
        ),
        (b"(o.", "the opcode OBJ, which is not plain data, at byte 1"),
        (
            b"P0\n.",
            "the opcode PERSID, which is not plain data, at byte 0",
        ),
        (
            b"NQ.",
            "the opcode BINPERSID, which is not plain data, at byte 1",
        ),
        (
            b"N)\x81.",
            "the opcode NEWOBJ, which is not plain data, at byte 2",
        ),
        (
            b"\x82\x01.",
            "the opcode EXT1, which is not plain data, at byte 0",
        ),
        (
            b"\x8f.",
            "the opcode EMPTY_SET, which is not plain data, at byte 0",
        ),
        (
            b"\x97.",
            "the opcode NEXT_BUFFER, which is not plain data, at byte 0",
        ),
        (b"\xff", "the unknown opcode 0xff at byte 0"),
        (b"NNR.", "a call of what is no name at byte 2"),
        (b"NN\x93.", "a name that is no text at byte 2"),
        (b"]Nb.", "a state that is not known at byte 2"),
    ] {
        assert_eq!(refused(bytes), message, "{bytes:?}");
    }
}

#[test]
fn what_is_not_known_is_opaque_to_who_wants_that() {
    for bytes in [
        &b"cos\nsystem\n."[..],
        b"cos\nsystem\n(S'ls'\ntR.",
        b"(S'ls'\nios\nsystem\n.",
        b"(cos\nsystem\nS'ls'\no.",
        b"cos\nsystem\n)\x81.",
        b"cos\nsystem\n)}\x92.",
        b"cos\nC\n)\x81}b.",
        b"cos\nC\n)\x81(K\x01e.",
        b"\x8f(K\x01\x90.",
        b"(K\x01\x91.",
        b"NNR.",
        b"NN\x93.",
    ] {
        assert_eq!(lenient(bytes), Value::Opaque, "{bytes:?}");
    }
    let error = read(b"\x82\x01", &mut Lenient::default()).unwrap_err();
    assert_eq!(error.reason, Reason::Opcode("EXT1"));
}

#[test]
fn calls_states_and_ids_become_what_the_reader_says() {
    let object = Value::Made(Made::Object);
    for (bytes, value, opcode) in [
        (&b"cm\npair\n(K\x01K\x02tR."[..], Value::Int(2), "REDUCE"),
        (b"cm\npair\n)\x81.", object, "NEWOBJ"),
        (b"cm\npair\n)}\x92.", object, "NEWOBJ_EX"),
        (b"(K\x01im\npair\n.", object, "INST"),
        (b"(cm\npair\nK\x01o.", object, "OBJ"),
        (b"cm\npair\n)R.", Value::Opaque, "REDUCE"),
    ] {
        let mut meaning = Lenient::default();
        let built = read(bytes, &mut meaning).unwrap();
        assert_eq!(built.root, value);
        let &[(called, offset)] = &meaning.opcodes[..] else {
            panic!("{bytes:?}")
        };
        assert_eq!(called, opcode);
        assert!(offset > 0 && offset < bytes.len());
    }
    let mut meaning = Lenient::default();
    read(b"cm\npair\n)\x81Nb.", &mut meaning).unwrap();
    assert_eq!(meaning.states, 1);
    assert_eq!(lenient(b"P0\n."), Value::Made(Made::Id));
    assert_eq!(lenient(b"NQ."), Value::Made(Made::Id));
}

#[test]
fn damaged_programs_are_errors() {
    for (bytes, reason) in [
        (&b""[..], "unexpected end at byte 0"),
        (b".", "empty stack at byte 0"),
        (b"t", "no mark on the stack at byte 0"),
        (b"(.", "empty stack at byte 1"),
        (b"N(0", "empty stack at byte 2"),
        (b"h\x05", "unknown memo entry at byte 0"),
        (b"g5\n", "unknown memo entry at byte 0"),
        (b"gx\n", "no number of the memo at byte 0"),
        (b"K\x01K\x02a", "items for what is no container at byte 4"),
        (b"}K\x01a", "items for what is no container at byte 3"),
        (b"]NNs", "items for what is no container at byte 3"),
        (b"}(K\x01u", "a key without a value at byte 4"),
        (b"(K\x01d", "a key without a value at byte 3"),
        (b"X\xff\xff\xff\xffabc", "unexpected end at byte 0"),
        (
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
            "unexpected end at byte 0",
        ),
        (b"\x8b\xff\xff\xff\xff", "unexpected end at byte 0"),
        (b"cos", "unexpected end at byte 0"),
        (b"I1", "unexpected end at byte 0"),
        (b"Ix\n", "no whole number at byte 0"),
        (b"Fx\n", "no number at byte 0"),
        (b"Sx\n", "no string at byte 0"),
        (b"V\\u1\n", "no text at byte 0"),
    ] {
        assert_eq!(refused(bytes), reason, "{bytes:?}");
    }
}

#[test]
fn bytes_of_python_3_in_old_protocols_are_decoded_within_bounds() {
    /// Knows `_codecs.encode` only.
    struct Codec;
    impl Meaning for Codec {
        type Made = ();
        const FOREIGN: Foreign = Foreign::Refused;
        const OPCODE_LIMIT: usize = 1 << 20;

        fn name(&mut self, arena: &Arena<'_, ()>, name: Name) -> Option<()> {
            (name.display(arena) == "_codecs.encode").then_some(())
        }

        fn call(
            &mut self,
            arena: &mut Arena<'_, ()>,
            call: Call<()>,
        ) -> Result<Option<Value<()>>, Reason> {
            match arena.tuple(call.arguments) {
                Some(&[text, codec]) => arena.latin1(text, codec),
                _ => Ok(None),
            }
        }
    }
    let read = |bytes: &[u8]| {
        let built = read(bytes, &mut Codec)?;
        Ok::<_, Error>(built.arena.raw(built.root).unwrap().to_vec())
    };
    assert_eq!(
        read(b"c_codecs\nencode\n(V\xff\0A\nVlatin1\ntR.").unwrap(),
        b"\xff\0A"
    );
    let reason = |bytes: &[u8]| read(bytes).unwrap_err().reason.to_string();
    assert_eq!(
        reason(b"c_codecs\nencode\n(V\\u20ac\nVlatin1\ntR."),
        "a character that is no byte"
    );
    assert_eq!(
        reason(b"c_codecs\nencode\n(Va\nVrot13\ntR."),
        "a call that is not known"
    );
    // One text, decoded a thousand times, would be a thousand times its length.
    let mut many = b"](c_codecs\nencode\nq\0X\x10\x27\0\0".to_vec();
    many.extend(vec![b'a'; 10_000]);
    many.extend(b"X\x06\0\0\0latin1\x86q\x010");
    many.extend(b"h\0h\x01R".repeat(1000));
    many.extend(b"e.");
    assert_eq!(reason(&many), "more bytes decoded than the pickle has");
}

#[test]
fn neither_depth_nor_repetition_harms() {
    // Tuples, each inside the next, are freed without recursion; so are lists.
    let depth = 300_000;
    for deep in [
        [&b"N"[..], &b"\x85".repeat(depth), b"."].concat(),
        [&b"(".repeat(depth)[..], b"N", &b"l".repeat(depth), b"."].concat(),
    ] {
        assert!(read(&deep, &mut Plain).is_ok());
    }
    let cycle = plain(b"]q\0h\0a.");
    assert_eq!(cycle.arena.list(cycle.root).unwrap(), [cycle.root]);
    let many = vec![b'}'; Plain::OPCODE_LIMIT + 1];
    assert_eq!(
        refused(&many),
        format!("more than {} opcodes at byte {0}", Plain::OPCODE_LIMIT)
    );
}

#[test]
fn no_changed_byte_panics() {
    let whole = b"\x80\x02}q\0(U\x01aq\x01(K\x01J\xfe\xff\xff\xffG@\x04\0\0\0\0\0\0Ntq\x02X\x02\0\0\0\xc3\xa9]q\x04(I01\n)S'x'\np5\ncm\npair\n(NNtR(im\npair\neu.";
    assert!(read(whole, &mut Lenient::default()).is_ok());
    for at in 0..whole.len() {
        for value in 0..=255 {
            let mut bytes = whole.to_vec();
            bytes[at] = value;
            let _ = read(&bytes, &mut Lenient::default());
            let _ = read(&bytes, &mut Plain);
        }
        let _ = read(&whole[..at], &mut Lenient::default());
    }
}

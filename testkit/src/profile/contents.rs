//! Bytes of files that are no databases: how well they compress is what matters.

use crate::seeded::Seeded;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Pictures and answers that came compressed: nothing is left to compress.
    Media,
    /// Code: few words, often.
    Script,
    /// Objects with names and numbers.
    Json,
    /// Blocks of 32 KiB with records of a header and a value, half of which is text, as LevelDB writes them.
    Log,
}

/// Bytes of one of LevelDB's blocks.
const BLOCK: usize = 32 * 1024;
const WORDS: [&str; 64] = [
    "function",
    "return",
    "const",
    "let",
    "if",
    "else",
    "this",
    "export",
    "import",
    "from",
    "new",
    "class",
    "value",
    "index",
    "length",
    "result",
    "element",
    "document",
    "window",
    "event",
    "target",
    "style",
    "width",
    "height",
    "name",
    "type",
    "data",
    "state",
    "props",
    "render",
    "update",
    "push",
    "map",
    "filter",
    "reduce",
    "then",
    "catch",
    "async",
    "await",
    "null",
    "undefined",
    "true",
    "false",
    "string",
    "number",
    "object",
    "array",
    "node",
    "parent",
    "child",
    "first",
    "last",
    "next",
    "previous",
    "item",
    "list",
    "key",
    "id",
    "url",
    "path",
    "query",
    "token",
    "user",
    "time",
];

/// Appends about `length` bytes, and exactly so many in the end.
pub(super) fn fill(out: &mut Vec<u8>, kind: Kind, length: usize, chance: &mut Seeded) {
    let end = out.len() + length;
    out.reserve(length + BLOCK);
    match kind {
        Kind::Media => noise(out, length, chance),
        Kind::Script => text(out, end, chance, b" "),
        Kind::Json => text(out, end, chance, b"\": \""),
        Kind::Log => log(out, end, chance),
    }
    out.truncate(end);
}

pub(super) fn noise(out: &mut Vec<u8>, length: usize, chance: &mut Seeded) {
    for _ in 0..length.div_ceil(8) {
        out.extend_from_slice(&chance.next().to_le_bytes());
    }
}

/// Words with, now and then, a name that is there once.
pub(super) fn text(out: &mut Vec<u8>, end: usize, chance: &mut Seeded, between: &[u8]) {
    while out.len() < end {
        let mut bits = chance.next();
        for _ in 0..8 {
            out.extend_from_slice(WORDS[(bits & 63) as usize].as_bytes());
            out.extend_from_slice(between);
            bits >>= 6;
        }
        out.extend_from_slice(format!("{bits:04x};\n").as_bytes());
    }
}

fn log(out: &mut Vec<u8>, end: usize, chance: &mut Seeded) {
    while out.len() < end {
        let length = 200 + usize::try_from(chance.next() % 2_000).expect("a small number");
        let room = BLOCK - out.len() % BLOCK;
        let length = length.min(room.saturating_sub(7));
        // Checksum, length, type.
        out.extend_from_slice(&chance.next().to_le_bytes()[..4]);
        out.extend_from_slice(&u16::try_from(length).expect("below a block").to_le_bytes());
        out.push(1);
        let record_end = out.len() + length;
        text(out, record_end - length / 2, chance, b"=");
        out.truncate(record_end - length / 2);
        noise(out, length / 2, chance);
        out.truncate(record_end);
    }
}

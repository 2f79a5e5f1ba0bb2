//! How a file is cut: SQLite in fixed pages of 16 KiB, small files whole, the rest by content (FastCDC).
//!
//! A changed row moves no page boundary, and bytes inserted into a log move only the cuts around them, so what
//! did not change is found again by its id.

use std::io::{self, Read};

use fastcdc::v2020::StreamCDC;

use crate::{
    manifest::{ChunkId, Coding},
    secret::Secret,
};

/// Files up to this many bytes are one chunk. Larger, and a small change costs more; smaller, and the
/// manifest grows.
pub const WHOLE_FILE_LENGTH: usize = 16 * 1024;
/// SQLite databases are cut at multiples of this. It is a multiple of every page size up to itself.
pub const SQLITE_CHUNK_LENGTH: usize = 16 * 1024;
/// Where and how large the chunks of other files are, in bytes: shortest, usual, longest.
pub const FILE_CUTS: Cuts = Cuts { shortest: 16 * 1024, usual: 64 * 1024, longest: 256 * 1024 };
/// The same for the manifest, of which a single entry changes at a time: smaller chunks, so that one changed
/// row sends a few KiB of manifest and not 64.
pub const MANIFEST_CUTS: Cuts = Cuts { shortest: 2 * 1024, usual: 8 * 1024, longest: 32 * 1024 };
/// zstd's level: higher ones cost time before anything is sent and save a few per cent here.
pub const ZSTD_LEVEL: i32 = 3;
/// Compressed bytes are kept only where they are fewer than this share of the clear ones, in per cent.
pub const WORTHWHILE_PERCENT: usize = 97;
const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Shortest, usual and longest chunk in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Cuts {
    /// No chunk but the last is shorter.
    pub shortest: u32,
    /// About what they are.
    pub usual: u32,
    /// None is longer.
    pub longest: u32,
}

/// Why a file's chunks ended early.
#[derive(Debug)]
pub(crate) enum SplitError<E> {
    Read(io::Error),
    Sink(E),
}

/// Hands the chunks of `file` to `sink`, in order. The file's first bytes decide how it is cut.
pub(crate) fn split<E>(
    mut file: impl Read,
    mut sink: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), SplitError<E>> {
    let mut head = Vec::with_capacity(WHOLE_FILE_LENGTH + 1);
    file.by_ref().take(WHOLE_FILE_LENGTH as u64 + 1).read_to_end(&mut head).map_err(SplitError::Read)?;
    if head.len() <= WHOLE_FILE_LENGTH {
        return if head.is_empty() { Ok(()) } else { sink(&head).map_err(SplitError::Sink) };
    }
    let is_sqlite = head.starts_with(SQLITE_MAGIC);
    let file = io::Cursor::new(head).chain(file);
    if is_sqlite { split_pages(file, sink) } else { split_content(file, FILE_CUTS, sink) }
}

fn split_pages<E>(
    mut file: impl Read,
    mut sink: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), SplitError<E>> {
    let mut page = Vec::with_capacity(SQLITE_CHUNK_LENGTH);
    loop {
        page.clear();
        file.by_ref().take(SQLITE_CHUNK_LENGTH as u64).read_to_end(&mut page).map_err(SplitError::Read)?;
        if page.is_empty() {
            return Ok(());
        }
        sink(&page).map_err(SplitError::Sink)?;
    }
}

/// Cuts by content.
pub(crate) fn split_content<E>(
    file: impl Read,
    cuts: Cuts,
    mut sink: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), SplitError<E>> {
    let (shortest, usual, longest) = (cuts.shortest as usize, cuts.usual as usize, cuts.longest as usize);
    for chunk in StreamCDC::new(file, shortest, usual, longest) {
        let chunk = chunk.map_err(|error| SplitError::Read(io::Error::other(error)))?;
        sink(&chunk.data).map_err(SplitError::Sink)?;
    }
    Ok(())
}

/// The id of clear bytes under a profile's id key.
pub(crate) fn chunk_id(id_key: &Secret, clear: &[u8]) -> ChunkId {
    ChunkId(*blake3::keyed_hash(id_key.expose(), clear).as_bytes())
}

/// zstd contexts, kept because making one costs more than a small chunk.
pub(crate) struct Coder {
    compressor: zstd::bulk::Compressor<'static>,
}

impl Coder {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { compressor: zstd::bulk::Compressor::new(ZSTD_LEVEL)? })
    }

    /// Appends `clear` to `out`, compressed where that is worth it.
    pub(crate) fn encode(&mut self, clear: &[u8], out: &mut Vec<u8>) -> io::Result<Coding> {
        let compressed = self.compressor.compress(clear)?;
        if compressed.len() * 100 < clear.len() * WORTHWHILE_PERCENT {
            out.extend_from_slice(&compressed);
            return Ok(Coding::Zstd);
        }
        out.extend_from_slice(clear);
        Ok(Coding::Raw)
    }
}

/// The clear bytes of `stored`, if they are exactly `clear_length`; nothing longer is ever allocated.
pub(crate) fn decode(stored: &[u8], coding: Coding, clear_length: usize) -> Option<Vec<u8>> {
    let clear = match coding {
        Coding::Raw => stored.to_vec(),
        Coding::Zstd => zstd::bulk::decompress(stored, clear_length).ok()?,
    };
    (clear.len() == clear_length).then_some(clear)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn chunks(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        let done: Result<(), SplitError<Infallible>> = split(bytes, |chunk| {
            chunks.push(chunk.to_vec());
            Ok(())
        });
        assert!(done.is_ok());
        assert_eq!(chunks.concat(), bytes);
        chunks
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn small_files_are_whole_at_the_limit_and_not_above() {
        assert!(chunks(b"").is_empty());
        assert_eq!(chunks(&noise(WHOLE_FILE_LENGTH)).len(), 1);
        assert!(chunks(&noise(WHOLE_FILE_LENGTH * 40)).len() > 1);
    }

    #[test]
    fn a_database_is_cut_in_pages() {
        let mut database = noise(SQLITE_CHUNK_LENGTH * 3 + 4096);
        database[..16].copy_from_slice(SQLITE_MAGIC);
        let lengths: Vec<_> = chunks(&database).iter().map(Vec::len).collect();
        assert_eq!(lengths, [16384, 16384, 16384, 4096]);
    }

    #[test]
    fn bytes_inserted_in_the_middle_change_few_chunks() {
        let before = noise(4 << 20);
        let mut after = before.clone();
        after.splice(2_000_000..2_000_000, *b"inserted");
        let (before, after) = (chunks(&before), chunks(&after));
        let new = after.iter().filter(|chunk| !before.contains(chunk)).count();
        assert!(new <= 3, "{new} of {}", after.len());
        assert!(after.iter().all(|chunk| chunk.len() <= FILE_CUTS.longest as usize));
    }

    #[test]
    fn only_worthwhile_compression_is_kept_and_bombs_are_not_inflated() {
        let mut coder = Coder::new().unwrap();
        let mut out = Vec::new();
        assert_eq!(coder.encode(&noise(5000), &mut out).unwrap(), Coding::Raw);
        assert_eq!(decode(&out, Coding::Raw, 5000), Some(noise(5000)));
        out.clear();
        assert_eq!(coder.encode(&vec![7; 200_000], &mut out).unwrap(), Coding::Zstd);
        assert_eq!(decode(&out, Coding::Zstd, 200_000), Some(vec![7; 200_000]));
        assert_eq!(decode(&out, Coding::Zstd, 199_999), None, "longer than said");
        assert_eq!(decode(&out, Coding::Zstd, 200_001), None, "shorter than said");
        assert_eq!(decode(b"garbage", Coding::Zstd, 100), None);
    }
}

//! How a file is cut: SQLite in fixed pages of 16 KiB, small files whole, the rest by content (FastCDC).
//!
//! A changed row moves no page boundary, and bytes inserted into a log move only the cuts around them, so what
//! did not change is found again by its id.

use std::io::{self, Read};

use fastcdc::v2020::FastCDC;
use zeroize::Zeroizing;

use crate::{
    manifest::{ChunkId, Coding, MAX_CHUNK_LENGTH},
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
/// A file is read this many bytes at a time. A multiple of a database's chunk and several of the longest chunk; more fills
/// the processor's caches, less asks the kernel more often.
const READ_LENGTH: usize = 1024 * 1024;
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

/// Cuts one file after another through one buffer, wiped in the end: a file is never in memory as a whole.
pub(crate) struct Cutter {
    buffer: Zeroizing<Vec<u8>>,
}

impl Cutter {
    pub(crate) fn new() -> Self {
        Self { buffer: Zeroizing::new(vec![0; READ_LENGTH]) }
    }

    /// Hands the chunks of `file` to `sink`, in order. The file's first bytes decide how it is cut.
    pub(crate) fn split<E>(
        &mut self,
        mut file: impl Read,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), SplitError<E>> {
        let mut length = self.fill(&mut file, 0).map_err(SplitError::Read)?;
        if (1..=WHOLE_FILE_LENGTH).contains(&length) {
            return sink(&self.buffer[..length]).map_err(SplitError::Sink);
        }
        let is_sqlite = self.buffer[..length].starts_with(SQLITE_MAGIC);
        loop {
            let (read, ended) = (&self.buffer[..length], length < READ_LENGTH);
            let used = if is_sqlite {
                cut_pages(read, &mut sink)
            } else {
                cut_content(read, FILE_CUTS, ended, &mut sink)
            };
            let used = used.map_err(SplitError::Sink)?;
            if ended {
                return Ok(());
            }
            self.buffer.copy_within(used..length, 0);
            length = self.fill(&mut file, length - used).map_err(SplitError::Read)?;
        }
    }

    /// Reads until the buffer is full or the file ends; `length` bytes are in it already. Gives the new length.
    fn fill(&mut self, file: &mut impl Read, mut length: usize) -> io::Result<usize> {
        while length < self.buffer.len() {
            match file.read(&mut self.buffer[length..]) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(length)
    }
}

fn cut_pages<E>(read: &[u8], sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<usize, E> {
    for page in read.chunks(SQLITE_CHUNK_LENGTH) {
        sink(page)?;
    }
    Ok(read.len())
}

/// Gives how many bytes were cut. Unless the file has `ended`, the last ones wait for what follows them: where a cut
/// falls depends on as many bytes as the longest chunk has.
fn cut_content<E>(
    read: &[u8],
    cuts: Cuts,
    ended: bool,
    sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<usize, E> {
    let (shortest, usual, longest) = (cuts.shortest as usize, cuts.usual as usize, cuts.longest as usize);
    for chunk in FastCDC::new(read, shortest, usual, longest) {
        if !ended && read.len() - chunk.offset < longest {
            return Ok(chunk.offset);
        }
        sink(&read[chunk.offset..chunk.offset + chunk.length])?;
    }
    Ok(read.len())
}

/// Cuts what is in memory by its content.
pub(crate) fn split_content<E>(
    bytes: &[u8],
    cuts: Cuts,
    mut sink: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    cut_content(bytes, cuts, true, &mut sink).map(|_| ())
}

/// The id of clear bytes under a profile's id key.
pub(crate) fn chunk_id(id_key: &Secret, clear: &[u8]) -> ChunkId {
    ChunkId(*blake3::keyed_hash(id_key.expose(), clear).as_bytes())
}

/// zstd contexts, kept because making one costs more than a small chunk; and room for one compressed chunk.
pub(crate) struct Coder {
    compressor: zstd::bulk::Compressor<'static>,
    compressed: Zeroizing<Vec<u8>>,
}

impl Coder {
    pub(crate) fn new() -> io::Result<Self> {
        let room = zstd::zstd_safe::compress_bound(MAX_CHUNK_LENGTH as usize);
        let compressed = Zeroizing::new(Vec::with_capacity(room));
        Ok(Self { compressor: zstd::bulk::Compressor::new(ZSTD_LEVEL)?, compressed })
    }

    /// Appends `clear` to `out`, compressed where that is worth it.
    pub(crate) fn encode(&mut self, clear: &[u8], out: &mut Vec<u8>) -> io::Result<Coding> {
        self.compressed.clear();
        self.compressor.compress_to_buffer(clear, &mut *self.compressed)?;
        if self.compressed.len() * 100 < clear.len() * WORTHWHILE_PERCENT {
            out.extend_from_slice(&self.compressed);
            return Ok(Coding::Zstd);
        }
        out.extend_from_slice(clear);
        Ok(Coding::Raw)
    }
}

/// The clear bytes of `stored`, if they are exactly `clear_length`; nothing longer is ever allocated.
pub(crate) fn decode(stored: &[u8], coding: Coding, clear_length: usize) -> Option<Vec<u8>> {
    // The manifest's decoder limits it, too; what is allocated hangs on it.
    if clear_length > MAX_CHUNK_LENGTH as usize {
        return None;
    }
    let clear = match coding {
        Coding::Raw => stored.to_vec(),
        Coding::Zstd => zstd::bulk::decompress(stored, clear_length).ok()?,
    };
    (clear.len() == clear_length).then_some(clear)
}

/// The way back for many chunks, through one context and one buffer that is wiped in the end.
pub(crate) struct Decoder {
    decompressor: zstd::bulk::Decompressor<'static>,
    clear: Zeroizing<Vec<u8>>,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        let decompressor =
            zstd::bulk::Decompressor::new().expect("a decoder without a dictionary loads nothing");
        Self { decompressor, clear: Zeroizing::new(vec![0; MAX_CHUNK_LENGTH as usize]) }
    }

    /// The clear bytes of `stored`, if they are exactly `clear_length`.
    pub(crate) fn decode<'a>(
        &'a mut self,
        stored: &'a [u8],
        coding: Coding,
        clear_length: usize,
    ) -> Option<&'a [u8]> {
        let clear = match coding {
            Coding::Raw => stored,
            Coding::Zstd => {
                let room = self.clear.get_mut(..clear_length)?;
                let length = self.decompressor.decompress_to_buffer(stored, room).ok()?;
                &self.clear[..length]
            }
        };
        (clear.len() == clear_length).then_some(clear)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn chunks(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        let done: Result<(), SplitError<Infallible>> = Cutter::new().split(bytes, |chunk| {
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

    /// Cuts that fall elsewhere would send a profile again as a whole.
    #[test]
    fn cuts_fall_where_a_stream_of_the_same_bytes_is_cut() {
        for length in [WHOLE_FILE_LENGTH + 1, READ_LENGTH - 1, READ_LENGTH, READ_LENGTH + 1, 5_000_000] {
            let bytes = noise(length);
            let lengths: Vec<_> = chunks(&bytes).iter().map(Vec::len).collect();
            let stream = fastcdc::v2020::StreamCDC::new(bytes.as_slice(), 16 * 1024, 64 * 1024, 256 * 1024);
            let expected: Vec<_> = stream.map(|chunk| chunk.unwrap().length).collect();
            assert_eq!(lengths, expected, "{length}");
        }
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
        let mut decoder = Decoder::new();
        assert_eq!(decoder.decode(&out, Coding::Zstd, 200_000), Some(vec![7; 200_000].as_slice()));
        assert_eq!(decoder.decode(&out, Coding::Zstd, 199_999), None, "longer than said");
        assert_eq!(decoder.decode(&out, Coding::Zstd, 200_001), None, "shorter than said");
        assert_eq!(decoder.decode(&out, Coding::Zstd, usize::MAX), None, "longer than any chunk");
        assert_eq!(decoder.decode(b"garbage", Coding::Zstd, 100), None);
        assert_eq!(decoder.decode(b"raw", Coding::Raw, 3), Some(b"raw".as_slice()));
        assert_eq!(decoder.decode(b"raw", Coding::Raw, 4), None);
    }
}

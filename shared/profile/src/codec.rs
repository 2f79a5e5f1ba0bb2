//! Little-endian fields one after another: the encoding inside every sealed object.
//!
//! A reader never trusts a length: it is checked against a limit and against the bytes that are left
//! before anything is allocated for it.

/// The bytes end too early, say too much, or leave something over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed at byte {at}")]
pub struct Malformed {
    /// Where reading stopped.
    pub at: usize,
}

/// Appends fields to a vector.
pub(crate) trait Put {
    fn put_u8(&mut self, value: u8);
    fn put_u32(&mut self, value: u32);
    fn put_u64(&mut self, value: u64);
    /// Length in two bytes, then the text. The caller has checked the length.
    fn put_text(&mut self, text: &str);
    fn put_bytes(&mut self, bytes: &[u8]);
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }
    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn put_text(&mut self, text: &str) {
        let length = u16::try_from(text.len()).expect("texts are checked before they are written");
        self.extend_from_slice(&length.to_le_bytes());
        self.extend_from_slice(text.as_bytes());
    }
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Reads fields from a slice.
pub(crate) struct Take<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Take<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn malformed(&self) -> Malformed {
        Malformed { at: self.at }
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(length).ok_or(self.malformed())?;
        let taken = self.bytes.get(self.at..end).ok_or(self.malformed())?;
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        Ok(self.bytes(N)?.try_into().expect("N bytes were taken"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A text of at most `limit` bytes.
    pub(crate) fn text(&mut self, limit: usize) -> Result<&'a str, Malformed> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        if length > limit {
            return Err(self.malformed());
        }
        std::str::from_utf8(self.bytes(length)?).map_err(|_| self.malformed())
    }

    /// A count of things of `each` bytes at least, which must fit into what is left.
    pub(crate) fn count(&mut self, each: usize) -> Result<usize, Malformed> {
        let count = self.u32()? as usize;
        if count > (self.bytes.len() - self.at) / each {
            return Err(self.malformed());
        }
        Ok(count)
    }

    /// What is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    pub(crate) fn finish(self) -> Result<(), Malformed> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.malformed()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_cannot_fit_is_refused_before_it_allocates() {
        let mut bytes = Vec::new();
        bytes.put_u32(u32::MAX);
        bytes.put_bytes(&[0; 64]);
        assert!(Take::new(&bytes).count(32).is_err());
        bytes[..4].copy_from_slice(&2_u32.to_le_bytes());
        assert_eq!(Take::new(&bytes).count(32), Ok(2));
        bytes[..4].copy_from_slice(&3_u32.to_le_bytes());
        assert!(Take::new(&bytes).count(32).is_err());
    }

    #[test]
    fn what_is_left_over_is_an_error() {
        let mut take = Take::new(&[1, 2]);
        assert_eq!(take.u8(), Ok(1));
        assert!(take.finish().is_err());
    }
}

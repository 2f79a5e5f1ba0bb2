//! A picture that arrived: when, and what colour its middle has.

use std::time::Instant;

use anyhow::Context as _;
use zune_jpeg::{JpegDecoder, zune_core::bytestream::ZCursor};

/// How far JPEG may move a channel of an even colour. Less fails on quantisation; more mixes up the pages' colours.
const TOLERANCE: u8 = 24;

/// Red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour(pub [u8; 3]);

impl Colour {
    /// Whether JPEG may have made `other` of it.
    pub fn resembles(self, other: Self) -> bool {
        self.0.iter().zip(other.0).all(|(one, other)| one.abs_diff(other) <= TOLERANCE)
    }
}

/// A JPEG that is whole on this side.
#[derive(Debug, Clone)]
pub struct Picture {
    /// When its last byte was here, before anybody decoded it.
    pub at: Instant,
    /// The JPEG.
    pub jpeg: bytes::Bytes,
}

impl Picture {
    /// The colour of its middle pixel.
    pub fn middle(&self) -> anyhow::Result<Colour> {
        let mut decoder = JpegDecoder::new(ZCursor::new(&self.jpeg[..]));
        let pixels = decoder.decode().context("decode a picture")?;
        let info = decoder.info().context("decode a picture without a size")?;
        let (width, height) = (usize::from(info.width), usize::from(info.height));
        let depth = pixels.len() / (width * height).max(1);
        let at = (height / 2 * width + width / 2) * depth;
        let pixel = pixels.get(at..at + 3).context("a picture without three channels")?;
        Ok(Colour([pixel[0], pixel[1], pixel[2]]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_resemble_up_to_the_tolerance() {
        let colour = Colour([100, 100, 100]);
        assert!(colour.resembles(Colour([124, 76, 100])));
        assert!(!colour.resembles(Colour([100, 125, 100])));
        assert!(!colour.resembles(Colour([100, 100, 75])));
    }

    #[test]
    fn what_is_no_jpeg_has_no_middle() {
        let picture = Picture { at: Instant::now(), jpeg: bytes::Bytes::from_static(b"GIF89a") };
        assert!(picture.middle().is_err());
    }
}

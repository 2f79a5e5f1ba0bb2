//! 32 secret bytes that are wiped, never printed, never copied by accident; and where random bytes come from.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Length of every symmetric key here, in bytes.
pub const KEY_LENGTH: usize = 32;

/// A symmetric key or a seed. Compared nowhere, printed nowhere, wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; KEY_LENGTH]);

impl Secret {
    /// Takes the bytes; the caller wipes its own copy.
    pub fn from_bytes(bytes: [u8; KEY_LENGTH]) -> Self {
        Self(bytes)
    }

    /// A new random one.
    pub fn random(random: &mut dyn Randomness) -> Self {
        let mut secret = Self([0; KEY_LENGTH]);
        random.fill(&mut secret.0);
        secret
    }

    /// BLAKE3 in key derivation mode: `context` is a constant of the format, `label` tells siblings apart.
    pub(crate) fn derive(&self, context: &str, label: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.0).update(label);
        let derived = Self(*hasher.finalize().as_bytes());
        hasher.zeroize();
        derived
    }

    /// The bytes, for whoever must hand them on.
    pub fn expose(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }

    /// A second holder of the same secret, said out loud.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

/// A source of random bytes that nobody can guess. Tests bring their own to get golden vectors. The threads of one save
/// draw from it by turns.
pub trait Randomness: Send {
    /// Fills all of `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// The operating system's source.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Randomness for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the system's random source answers");
    }
}

/// Random bytes as an array.
pub(crate) fn random_array<const N: usize>(random: &mut dyn Randomness) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The same bytes every time: BLAKE3's output stream of a seed.
    pub(crate) struct Seeded(blake3::OutputReader);

    impl Seeded {
        pub(crate) fn new(seed: &str) -> Self {
            Self(blake3::Hasher::new().update(seed.as_bytes()).finalize_xof())
        }
    }

    impl Randomness for Seeded {
        fn fill(&mut self, bytes: &mut [u8]) {
            self.0.fill(bytes);
        }
    }

    #[test]
    fn a_secret_does_not_print() {
        let text = format!("{:?}", Secret::from_bytes([0x41; 32]));
        assert_eq!(text, "Secret(..)");
    }

    #[test]
    fn contexts_and_labels_separate_keys() {
        let parent = Secret::from_bytes([7; 32]);
        let one = parent.derive("a", b"x");
        assert_ne!(one.expose(), parent.derive("b", b"x").expose());
        assert_ne!(one.expose(), parent.derive("a", b"y").expose());
        assert_eq!(one.expose(), parent.derive("a", b"x").expose());
    }
}

//! Recovery words: the account key as 24 words of BIP-39's English list, the last of which carries eight bits of checksum.
//!
//! The 32 bytes are the entropy; BIP-39's way from words to a seed (PBKDF2) is not used.

use bip39::{Language, Mnemonic};
use zeroize::Zeroizing;

use crate::keys::AccountKey;

/// How many words there are.
pub const WORD_COUNT: usize = 24;
/// Longest text that is looked at, in bytes: 24 words of at most eight letters, and generous space between them.
pub const MAX_TEXT_LENGTH: usize = 1024;

/// Why words are not a key. Quotes none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// Some are missing, or there are too many.
    #[error("there are {0} words; recovery words are {WORD_COUNT}")]
    Count(usize),
    /// One that the list does not have.
    #[error("word {position} is not in the list of recovery words")]
    Unknown {
        /// Counted from 1.
        position: usize,
    },
    /// All are in the list, and they do not belong together.
    #[error(
        "the checksum of the words fails: one of them is another word of the list, or two changed places"
    )]
    Checksum,
}

/// The words of a key, a space between any two.
pub fn to_words(account: &AccountKey) -> Zeroizing<String> {
    let mnemonic =
        Mnemonic::from_entropy_in(Language::English, account.expose()).expect("32 bytes are 24 words");
    // Room at once, so that nothing is left behind by a move.
    let mut words = Zeroizing::new(String::with_capacity(MAX_TEXT_LENGTH));
    for word in mnemonic.words() {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    words
}

/// The key of these words, whatever their case and the space between them.
pub fn from_words(text: &str) -> Result<AccountKey, WordsError> {
    let count = text.split_whitespace().count();
    if count != WORD_COUNT || text.len() > MAX_TEXT_LENGTH {
        return Err(WordsError::Count(count));
    }
    let mut normal = Zeroizing::new(String::with_capacity(text.len()));
    for word in text.split_whitespace() {
        if !normal.is_empty() {
            normal.push(' ');
        }
        normal.extend(word.chars().map(|letter| letter.to_ascii_lowercase()));
    }
    let mnemonic =
        Mnemonic::parse_in_normalized(Language::English, &normal).map_err(|error| match error {
            bip39::Error::UnknownWord(index) => WordsError::Unknown { position: index + 1 },
            bip39::Error::InvalidChecksum => WordsError::Checksum,
            _ => WordsError::Count(count),
        })?;
    let (entropy, _) = mnemonic.to_entropy_array();
    let entropy = Zeroizing::new(entropy);
    Ok(AccountKey::from_bytes(entropy[..32].try_into().expect("24 words are 32 bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The 256-bit English vectors that BIP-39 points to (python-mnemonic's `vectors.json`).
    const PUBLISHED: [(&str, &str); 8] = [
        (
            "0000000000000000000000000000000000000000000000000000000000000000",
            "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
             abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art",
        ),
        (
            "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f",
            "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal \
             winner thank year wave sausage worth title",
        ),
        (
            "8080808080808080808080808080808080808080808080808080808080808080",
            "letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic \
             avoid letter advice cage absurd amount doctor acoustic bless",
        ),
        (
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo vote",
        ),
        (
            "68a79eaca2324873eacc50cb9c6eca8cc68ea5d936f98787c60c7ebc74e6ce7c",
            "hamster diagram private dutch cause delay private meat slide toddler razor book happy fancy gospel tennis \
             maple dilemma loan word shrug inflict delay length",
        ),
        (
            "9f6a2878b2520799a44ef18bc7df394e7061a224d2c33cd015b157d746869863",
            "panda eyebrow bullet gorilla call smoke muffin taste mesh discover soft ostrich alcohol speed nation flash \
             devote level hobby quick inner drive ghost inside",
        ),
        (
            "066dca1a2bb7e8a1db2832148ce9933eea0f3ac9548d793112d9a95c9407efad",
            "all hour make first leader extend hole alien behind guard gospel lava path output census museum junior mass \
             reopen famous sing advance salt reform",
        ),
        (
            "f585c11aec520db57dd353c69554b21a89b20fb0650966fa0a9d6f74fd989d8f",
            "void come effort suffer camp survey warrior heavy shoot primary clutch crush open amazing screen patrol \
             group space point ten exist slush involve unfold",
        ),
    ];

    #[test]
    fn the_published_vectors_hold_both_ways() {
        for (entropy, words) in PUBLISHED {
            let bytes: [u8; 32] = std::array::from_fn(|index| {
                u8::from_str_radix(&entropy[index * 2..index * 2 + 2], 16).unwrap()
            });
            assert_eq!(*to_words(&AccountKey::from_bytes(bytes)), words);
            assert_eq!(from_words(words).unwrap().expose(), &bytes);
        }
    }

    #[test]
    fn what_is_wrong_with_words_is_said_without_them() {
        let words = PUBLISHED[4].1;
        assert!(from_words(&format!("  {}\n", words.to_uppercase().replace(' ', "\t "))).is_ok());
        assert_eq!(from_words("zoo zoo").unwrap_err(), WordsError::Count(2));
        assert_eq!(from_words(&format!("{words} zoo")).unwrap_err(), WordsError::Count(25));
        let unknown = from_words(&words.replace("dutch", "secretword")).unwrap_err();
        assert_eq!(unknown, WordsError::Unknown { position: 4 });
        assert!(!unknown.to_string().contains("secretword"));
        let swapped = words.replacen("hamster diagram", "diagram hamster", 1);
        assert_eq!(from_words(&swapped).unwrap_err(), WordsError::Checksum);
        assert!(
            matches!(from_words(&words.repeat(200)), Err(WordsError::Count(_))),
            "more than is looked at"
        );
    }
}

//! What can be told from stored bytes without a key: neither what they are, nor which of two profiles of one size they are.

use cbrowse_profile::secret::SystemRandom;

use crate::world::{World, meta, noise, plant, tree};

/// Sizes of all stored objects of a profile with these files.
fn sizes(files: &[(String, usize)]) -> Vec<usize> {
    let world = World::new();
    let browser = world.path("browser");
    for (path, length) in files {
        plant(&browser, path, &noise(path, *length));
    }
    world.authority.sync(&browser, &world.keys(), &meta(1), &mut SystemRandom).unwrap();
    let mut sizes: Vec<_> = tree(world.authority.store().root()).values().map(Vec::len).collect();
    sizes.sort_unstable();
    sizes
}

/// Cuts `total` bytes into `count` files whose sizes `seed` decides.
fn cut(total: usize, count: usize, seed: &str) -> Vec<(String, usize)> {
    let cuts = noise(seed, count * 4);
    let weight = |at: usize| 1 + usize::from(cuts[at * 4]) + 256 * usize::from(cuts[at * 4 + 1]);
    let weights: usize = (0..count).map(weight).sum();
    let mut files: Vec<_> = (0..count)
        .map(|at| (format!("Default/Local Storage/leveldb/{seed}{at:05}.log"), total * weight(at) / weights))
        .collect();
    let rest = total - files.iter().map(|(_, length)| length).sum::<usize>();
    files[0].1 += rest;
    files
}

/// Head, manifest, pack: all but the manifest are of exactly the same size. The manifest holds an entry for each chunk, and where
/// chunks end hangs on the contents, so it may be a Padmé step or two away.
#[test]
fn two_profiles_of_one_size_and_number_of_files_look_alike() {
    for (total, count) in [(40_000, 3), (400_000, 12), (3_000_000, 40)] {
        let one = sizes(&cut(total, count, "one"));
        for seed in ["two", "six"] {
            let other = sizes(&cut(total, count, seed));
            assert_eq!((one.len(), other.len()), (3, 3));
            assert_eq!((other[0], other[2]), (one[0], one[2]), "{total} bytes in {count} files");
            assert!(
                other[1].abs_diff(one[1]) * 4 <= one[1],
                "{total} bytes in {count} files: {other:?} {one:?}"
            );
        }
    }
}

/// What leaks, written down: a profile's objects are its packs, its manifest and its head. The manifest's size, in Padmé steps,
/// tells roughly how many files and chunks there are; nothing tells how long any of them is.
#[test]
fn the_number_of_files_shows_in_the_manifest_alone() {
    let few = sizes(&cut(200_000, 4, "few"));
    let many = sizes(&cut(200_000, 400, "many"));
    assert_eq!(few.len(), 3);
    assert_eq!(few.last(), many.last(), "the pack says nothing of it");
    assert_ne!(few, many);
}

#[test]
fn nothing_stored_holds_a_planted_string_in_any_usual_spelling() {
    // Long and without meaning: random bytes never hold them by chance.
    let planted = ["q7Zk2vXw9Lr4Tn8B", "d0f3a9c17e5b4826", "Wm5Yp1Hs6Jc3Ug0E", "zR8tQ4nK2xV7bL9o"];
    let world = World::new();
    let browser = world.path("browser");
    plant(&browser, "Default/Cookies", planted[0].repeat(40).as_bytes());
    plant(&browser, &format!("Default/IndexedDB/https_{}.example_0.indexeddb.leveldb/1", planted[1]), b"x");
    let meta = cbrowse_profile::save::SaveMeta {
        device: planted[2].into(),
        browser_version: planted[3].into(),
        ..meta(5)
    };
    world.authority.sync(&browser, &world.keys(), &meta, &mut SystemRandom).unwrap();
    let proposal = world.session("session", |data| {
        plant(data, "Default/History", planted[0].as_bytes());
    });
    world.accept(&proposal);
    let mut stored = tree(&world.path("node"));
    stored.extend(tree(world.authority.store().root()));
    stored.insert("proposal".into(), proposal);
    assert!(stored.len() > 6);
    for text in planted {
        let digits = |byte: u8| {
            [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        };
        let hex: String = text.bytes().flat_map(digits).collect();
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut spellings =
            vec![text.as_bytes().to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes(), utf16];
        spellings.extend((0..3).map(|shift| base64(&[&vec![0; shift], text.as_bytes()].concat(), shift)));
        for (name, bytes) in &stored {
            for spelling in &spellings {
                let shown = name.as_bytes().windows(spelling.len()).any(|window| window == spelling)
                    || bytes.windows(spelling.len()).any(|window| window == spelling);
                assert!(!shown, "{text} in {name}");
            }
        }
    }
}

/// The part of the Base64 of `bytes` that does not hang on what is around the text, which begins at `shift`.
fn base64(bytes: &[u8], shift: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u8> = bytes
        .chunks_exact(3)
        .flat_map(|three| {
            let all = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
            [18, 12, 6, 0].map(|at| LETTERS[(all >> at & 63) as usize])
        })
        .collect();
    digits[if shift == 0 { 0 } else { 4 }..].to_vec()
}

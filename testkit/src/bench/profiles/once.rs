//! Our library, once: what the program does between its start and its end, with a key that is at hand.

use std::path::PathBuf;

use cbrowse_profile::{
    authority::{Authority, AuthorityError},
    head::Closing,
    keys::AccountKey,
    meter::Meter,
    restore::restore,
    save::SaveMeta,
    secret::SystemRandom,
};

/// What the profile is called.
const NAME: &str = "bench";
/// Nothing depends on it.
const KEY: [u8; 32] = [7; 32];

/// What to do.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Where profiles lie
    pub root: PathBuf,
    /// Save this user data directory
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
    /// Restore into this directory
    #[arg(long, value_name = "DIR")]
    pub restore: Option<PathBuf>,
}

/// Does it.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let account = AccountKey::from_bytes(KEY);
    let authority = match Authority::open(&options.root, NAME) {
        Err(AuthorityError::Unknown(_)) => {
            Authority::create(&options.root, &NAME.parse()?, &account, 1, &mut SystemRandom)?
        }
        opened => opened?,
    };
    let keys = authority.keys(&account)?;
    if let Some(directory) = &options.save {
        let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH)?;
        let meta = SaveMeta {
            now: now.as_secs(),
            device: "bench".into(),
            browser_version: "156".into(),
            closing: Closing::Clean,
        };
        let meter = Meter::default();
        authority.sync_through(directory, &keys, &meta, authority.store(), &meter, &mut SystemRandom)?;
    }
    if let Some(directory) = &options.restore {
        let snapshot = authority.snapshot(&keys)?.ok_or_else(|| anyhow::anyhow!("nothing was saved"))?;
        restore(&snapshot, authority.store(), directory)?;
    }
    Ok(())
}

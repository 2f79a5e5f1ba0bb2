//! Whom a choice probes: the flags that `nodes probe` and `connect` share.

use crate::{
    settings::Settings,
    survey::{Probing, probing::DRAWN},
};

/// Whom a choice probes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Probing")]
pub struct ProbingArgs {
    /// Probe as if for the first time: what earlier probings on this network found does not count, and the catalogs are asked.
    #[arg(long, conflicts_with_all = ["cached", "quiet_probing"])]
    pub fresh: bool,
    /// Choose by what earlier probings on this network found: no node is probed and no catalog asked (CBROWSE_PROBING=cached).
    #[arg(long, conflicts_with = "quiet_probing")]
    pub cached: bool,
    /// Probe N nodes drawn at random instead of all, 16 unless N is given, and as many again while none of them serves
    /// (CBROWSE_PROBING=quiet).
    #[arg(
        long,
        value_name = "N",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = DEFAULT,
        value_parser = Probing::quiet
    )]
    pub quiet_probing: Option<Probing>,
}

/// [`DRAWN`], as clap takes it.
const DEFAULT: &str = "16";
const _: () = assert!(DRAWN == 16, "the help and DEFAULT say 16");

impl ProbingArgs {
    /// What is in force.
    pub fn probing(&self, settings: &Settings) -> Probing {
        let (given, name) = match self {
            Self { fresh: true, .. } => (Some(Probing::Fresh), "--fresh"),
            Self { cached: true, .. } => (Some(Probing::Cached), "--cached"),
            _ => (self.quiet_probing, "--quiet-probing"),
        };
        settings.probing.clone().or_flag(given, name).value
    }
}

//! What a sync did, for a person and for programs.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::{
    super::{seal::Sealed, words},
    Args, Done, Sent,
};
use crate::{
    context::Globals,
    credentials::seconds,
    date,
    failure::Failure,
    profile::{Published, Uploaded},
};

impl Done {
    fn changed(&self) -> bool {
        self.homecomings.iter().any(|home| home.current.is_some() || !home.kept.is_empty())
            || self.sealed.as_ref().is_some_and(|sealed| sealed.stats.changed)
            || self.sent.as_ref().is_some_and(|sent| sent.uploaded.objects > 0)
    }

    pub(super) fn to_json(&self, args: &Args, generation: Option<u64>) -> Value {
        let homecomings: Vec<_> = self
            .homecomings
            .iter()
            .map(|home| {
                json!({
                    "node": home.node.id,
                    "generation": home.current.as_ref().map(|head| head.generation),
                    "kept_as": home.kept,
                    "waits": home.waits,
                })
            })
            .collect();
        json!({
            "profile": args.name,
            "generation": generation,
            "dry_run": args.dry_run,
            "changed": self.changed(),
            "taken_home": homecomings,
            "sealed": self.sealed.as_ref().map(Sealed::to_json),
            "passed_over": self.passed_over,
            "sent": self.sent.as_ref().map(Sent::to_json),
        })
    }

    pub(super) fn tell(
        &self,
        args: &Args,
        globals: &Globals,
        generation: Option<u64>,
        ended: bool,
    ) -> Result<(), Failure> {
        let output = &globals.output;
        for home in &self.homecomings {
            if let Some(head) = &home.current {
                output.print(&format!("taken home from {}: generation {}", home.node.id, head.generation))?;
            }
            for kept in &home.kept {
                output.warn(format_args!(
                    "the profile moved on while a session ran on {}; its save is kept as {kept} (cbrowse profile history {})",
                    home.node.id, args.name
                ));
            }
            if let Some(waits) = &home.waits {
                output.warn(format_args!("a save may still wait on {}: {waits}", home.node.id));
            }
        }
        if let Some(sealed) = &self.sealed {
            output.print(&sealed.sentence())?;
            // Who syncs often has read it the first time.
            if sealed.stats.changed {
                words::tell_left_behind(output, &sealed.left_behind);
            }
        }
        if let Some(directory) = &self.passed_over {
            let directory = directory.display();
            output.note(format_args!(
                "{directory} was not looked at: sessions have changed the profile since it was sealed from there; to take \
                 its state as the next generation: cbrowse profile sync {} --from {directory}",
                args.name
            ));
        }
        match &self.sent {
            Some(sent) => output.print(&sent.sentence(args.dry_run, seconds(SystemTime::now())))?,
            None if ended => output.print(&self.stays(generation))?,
            None => {}
        }
        if ended && !self.changed() && self.sent.is_some() {
            output.print(&"nothing changed")?;
        }
        Ok(())
    }

    /// Without a catalog.
    fn stays(&self, generation: Option<u64>) -> String {
        let Some(generation) = generation else {
            return "the profile was never saved, so there is nothing to send".into();
        };
        // A directory that was looked at has said so itself.
        let nothing = if self.changed() || self.sealed.is_some() { "" } else { "nothing changed: " };
        format!(
            "{nothing}safe on this machine as generation {generation}; no catalog is named, so nothing had to travel"
        )
    }
}

impl Sent {
    fn to_json(&self) -> Value {
        let published = self.published.as_ref();
        let removed = published.and_then(|published| match published {
            Published::Current { removed } => Some(removed),
            Published::Unsupported => None,
        });
        json!({
            "node": self.node.id,
            "objects": self.uploaded.objects,
            "bytes": self.uploaded.bytes,
            "confirmed": self.confirmed,
            "current_there": published.map(|published| matches!(published, Published::Current { .. })),
            "removed_there": removed,
        })
    }

    fn sentence(&self, dry_run: bool, now: u64) -> String {
        let Uploaded { objects, bytes } = self.uploaded;
        let what = format!("{}, {}", words::count(objects, "object"), words::size(bytes));
        match (objects, dry_run, self.confirmed) {
            (0, _, Some(when)) => {
                let ago = if when == now { "just now".to_owned() } else { date::relative(now, when) };
                format!("{} holds everything already: it said so {ago} (--fresh asks again)", self.node.id)
            }
            (0, ..) => format!("{} holds everything already", self.node.id),
            (_, true, _) => format!("would send {what} to {}", self.node.id),
            (_, false, _) => format!("sent {what} to {}", self.node.id),
        }
    }
}

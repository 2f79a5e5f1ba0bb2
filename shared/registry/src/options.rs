//! What opening a catalog needs besides its name.

use crate::{environment::Environment, figures::Figures, query::Query};

/// How catalogs and registries are opened; one for all of them.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Tokens and certificates.
    pub environment: Environment,
    /// Which nodes are asked for.
    pub query: Query,
    /// Where requests are counted.
    pub figures: Figures,
}

impl Options {
    /// With what this process's environment says; every usable node is asked for.
    pub fn of_process() -> Self {
        Self::from(Environment::of_process())
    }

    /// The same for certain nodes.
    #[must_use]
    pub fn with_query(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    /// The same, counted elsewhere.
    #[must_use]
    pub fn with_figures(mut self, figures: Figures) -> Self {
        self.figures = figures;
        self
    }
}

impl From<Environment> for Options {
    fn from(environment: Environment) -> Self {
        Self { environment, ..Self::default() }
    }
}

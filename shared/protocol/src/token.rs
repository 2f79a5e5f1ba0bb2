//! Tokens and proofs.

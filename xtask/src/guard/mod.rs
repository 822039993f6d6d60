//! Rules for the code, each as a function that lists the places that break the rule.
//! Tests of this package hold the repository to the rules.

pub mod circles;
pub mod engines;
pub mod undocumented;

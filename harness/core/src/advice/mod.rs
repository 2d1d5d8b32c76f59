//! Advice on a backport: which commits of a fix go into a source tree, and whether it is whole then.
//!
//! Somebody else tries the commits one after the other; an [`attempt`] is what came of one. [`needed`]
//! says which of them make the tree whole, and [`conclusion`] what follows from all of it. A static
//! verdict decides throughout: building and running only ever take something back.

pub mod attempt;
pub mod closest;
pub mod conclusion;
pub mod needed;
mod text;

pub use attempt::{Attempt, Fit, Standing};
pub use conclusion::{Advice, Conclusion, Facts};

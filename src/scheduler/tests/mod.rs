mod mixes;
mod real;
mod single;
mod thread;
mod toy;

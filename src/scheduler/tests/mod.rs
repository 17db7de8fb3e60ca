mod mixes;
mod prefix;
mod real;
mod single;
mod thread;
mod toy;

//! Backend in memory.

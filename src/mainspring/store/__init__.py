"""Where runs are remembered: SQL files and two small drivers behind one narrow protocol."""

"""The process and the machine: directories, locks, forks, threads, caches, the terminal."""

"""What every room uses: files, settings, hardware, words, TREC lines."""

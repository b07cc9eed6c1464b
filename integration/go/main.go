// Checks a log directory with the Go project's own transparency-log code: the signature of the
// checkpoint, every tile, every entry, an inclusion proof for each of some entries, and that older
// checkpoints are beginnings of it.
//
//	check DIR KEYFILE [OLDER-CHECKPOINT]...
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// files reads tiles where C2SP tlog-tiles puts them: as Go's do, without the height in the path.
type files struct{ dir string }

func (f files) Height() int { return 8 }

func (f files) SaveTiles([]tlog.Tile, [][]byte) {}

func (f files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		bytes, err := os.ReadFile(filepath.Join(f.dir, path))
		if err != nil {
			return nil, err
		}
		all = append(all, bytes)
	}
	return all, nil
}

func open(path string, verifier note.Verifier) (tlog.Tree, error) {
	var tree tlog.Tree
	bytes, err := os.ReadFile(path)
	if err != nil {
		return tree, err
	}
	opened, err := note.Open(bytes, note.VerifierList(verifier))
	if err != nil {
		return tree, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		return tree, fmt.Errorf("%s is not a checkpoint of %s", path, verifier.Name())
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	copy(tree.Hash[:], root)
	return tree, err
}

// entries calls check with every entry of the bundles of a log of n entries.
func entries(dir string, n int64, check func(at int64, entry []byte) error) error {
	for at := int64(0); at < n; {
		width := min(n-at, 256)
		tile := tlog.Tile{H: 8, L: -1, N: at / 256, W: int(width)}
		path := strings.Replace(tile.Path(), "tile/8/data/", "tile/entries/", 1)
		bundle, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return err
		}
		for i := int64(0); i < width; i++ {
			if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
				return fmt.Errorf("%s is cut in entry %d", path, at)
			}
			length := 2 + int(binary.BigEndian.Uint16(bundle))
			if err := check(at, bundle[2:length]); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			bundle = bundle[length:]
			at++
		}
		if len(bundle) > 0 {
			return fmt.Errorf("%s goes on after its last entry", path)
		}
	}
	return nil
}

func run(dir, keyFile string, older []string) error {
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(key)))
	if err != nil {
		return err
	}
	tree, err := open(filepath.Join(dir, "checkpoint"), verifier)
	if err != nil {
		return err
	}
	hashes := tlog.TileHashReader(tree, files{dir})
	err = entries(dir, tree.N, func(at int64, entry []byte) error {
		stored, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, at)})
		if err != nil {
			return err
		}
		hash := tlog.RecordHash(entry)
		if stored[0] != hash {
			return fmt.Errorf("entry %d is not the one in the tree", at)
		}
		if at%997 != 0 && at != tree.N-1 {
			return nil
		}
		proof, err := tlog.ProveRecord(tree.N, at, hashes)
		if err != nil {
			return err
		}
		return tlog.CheckRecord(proof, tree.N, tree.Hash, at, hash)
	})
	if err != nil {
		return err
	}
	for _, path := range older {
		before, err := open(path, verifier)
		if err != nil {
			return err
		}
		proof, err := tlog.ProveTree(tree.N, before.N, hashes)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, before.N, before.Hash); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	fmt.Printf("%d entries, %d older checkpoints\n", tree.N, len(older))
	return nil
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: check DIR KEYFILE [OLDER-CHECKPOINT]...")
		os.Exit(64)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
